//! A process that runs groups: metrics, log, pages, signals, and how it ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::settings::start_log;
use crate::cli::terminal::Terminal;
use crate::runtime::shutdown::Signals;

use crate::config::{Config, Loaded};
use crate::console::Console;
use crate::runtime::{Broker, Ending, Group, Service, StartError};
use crate::telemetry::http::HttpServer;
use crate::telemetry::log::LogGuard;
use crate::telemetry::{Board, BuildInfo, Metrics};

/// What a process with groups holds beside them.
pub(crate) struct Serving {
    pub(crate) metrics: Metrics,
    pub(crate) http: Option<HttpServer>,
    /// The page at `/`.
    pub(crate) console: Console,
    _log: LogGuard,
}

impl Serving {
    /// Starts the log and the pages.
    pub(crate) fn start(loaded: &Loaded, terminal: &Terminal) -> Result<Self, Failure> {
        raise_file_limit();
        let build = BuildInfo::current(crate::kafka::client_version());
        let metrics = Metrics::new(&build, Arc::new(Board::new(&build.version)))?;
        let log = start_log(loaded, Some(&metrics), terminal)?;
        let console = Console::new(&loaded.config, metrics.board());
        let http = HttpServer::configured(&loaded.config, &metrics, console.router())?;
        Ok(Self { metrics, http, console, _log: log })
    }

    /// Says with which configuration the process starts: what was set, secrets redacted.
    pub(crate) fn say_configuration(loaded: &Loaded) {
        for setting in
            loaded.settings.iter().filter(|setting| setting.origin != crate::config::Origin::Default)
        {
            tracing::info!(setting = %setting.path, value = %setting.value, origin = %setting.origin, "configured");
        }
    }

    /// Starts the groups.
    pub(crate) async fn groups(
        &self,
        config: &Config,
        groups: Vec<Group>,
        broker: Broker,
    ) -> Result<Service, Failure> {
        self.console.scale_by(config, &groups);
        let service = Service::start(config, groups, self.metrics.clone(), broker).await?;
        self.console.show_store(service.store());
        Ok(service)
    }
}

/// Drains the groups until `deadline` and says with which code to end. A further signal ends the process at once.
pub(crate) async fn drain(
    service: &mut Service,
    metrics: &Metrics,
    signals: Signals,
    deadline: Duration,
) -> Result<Exit, Failure> {
    signals.leave_at_the_next();
    let began = Instant::now();
    service.drain(deadline);
    let endings = service.ended(deadline).await;
    metrics.drained(began.elapsed());
    verdict(endings)
}

/// Turns the ends of all groups into one code: the first that is not well decides.
pub(crate) fn verdict(endings: Vec<(String, Ending)>) -> Result<Exit, Failure> {
    let mut exit = Exit::Ok;
    for (group, ending) in endings {
        match ending {
            Ending::Drained => {}
            Ending::DeadlinePassed { abandoned } => {
                tracing::warn!(%group, abandoned, "the drain's deadline passed, the next owner does it again");
                exit = Exit::Unfinished;
            }
            Ending::Halted(cause) => return Err(halted(&group, &cause)),
            Ending::Refused(refusal) => {
                return Err(Failure::new(Exit::Configuration, format!("{group} may not start: {refusal}")));
            }
            Ending::Edge(error) => return Err(error.into()),
            Ending::Lost(why) => {
                return Err(Failure::new(Exit::Internal, format!("{group} has ended: {why}"))
                    .fix("start the process again; what was not done is done then"));
            }
        }
    }
    Ok(exit)
}

fn halted(group: &str, cause: &postroom_core::HaltCause) -> Failure {
    match cause {
        postroom_core::HaltCause::Fatal(failure) => {
            Failure::new(Exit::Internal, format!("{group} stopped: {failure}"))
        }
        postroom_core::HaltCause::DeadLetterFlood { dead, finished } => Failure::new(
            Exit::Data,
            format!("{group} stopped: {dead} of the last {finished} records would be dead letters"),
        )
        .fix("look at `postroom dlq ls`; raise effects.NAME.dead_letter_limit if that is as it should be"),
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::NothingToDo | StartError::Schemas(_) => {
                Self::new(Exit::Configuration, error.to_string())
            }
            StartError::Registry(error) => error.into(),
            StartError::Kafka(error) => error.into(),
            StartError::Store(error) => error.into(),
            StartError::Metrics(error) => error.into(),
            StartError::Thread(_) => Self::new(Exit::Internal, error.to_string()),
        }
    }
}

/// Takes as many file handles as the system lets us have: each delivery that waits for an endpoint holds one, and many
/// systems begin with 1,024.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(FILES).min(FILES);
    if limit.current.is_some_and(|current| current < most) {
        limit.current = Some(most);
        // Where it is refused, the limit stays as it was.
        setrlimit(Resource::Nofile, limit).unwrap_or_default();
    }
}

/// More than this is of no use.
const FILES: u64 = 65_536;

/// Makes the runtime of a command.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let built = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    built.map_err(|error| Failure::new(Exit::Internal, format!("no runtime: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_helper_is_a_bug_that_is_named() {
        let endings = vec![("the relay".to_owned(), Ending::Lost("it panicked: so".to_owned()))];

        let failure = verdict(endings).err();

        assert!(failure.is_some_and(|failure| failure.exit() == Exit::Internal
            && failure.to_string().contains("the relay has ended: it panicked: so")));
    }
}
