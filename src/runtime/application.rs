//! The shortest way to run handlers of one's own: configuration, log, metrics, groups, and an orderly end.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, Problems, Sources, load};
use crate::runtime::ending::Ending;
use crate::runtime::group::Group;
use crate::runtime::service::{Broker, Service, StartError};
use crate::runtime::shutdown::Signals;
use crate::telemetry::http::{HttpError, HttpServer};
use crate::telemetry::log::{self, Color, LogError, LogSettings};
use crate::telemetry::{Board, BuildInfo, Metrics, MetricsError};

/// A program with handlers of its own, configured like `postroom` itself: `postroom.toml`, then the environment.
///
/// ```no_run
/// # use postroom::{Group, Postroom, effects::Project};
/// # async fn example() -> Result<(), postroom::RunError> {
/// Postroom::from_env()?.with(Group::effect(Project)).run().await
/// # }
/// ```
#[derive(Debug)]
pub struct Postroom {
    config: Config,
    groups: Vec<Group>,
}

/// Why a program ended otherwise than it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration cannot be used; every problem is named.
    #[error(transparent)]
    Configuration(#[from] Problems),
    /// The log cannot be set up.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A metric is declared wrongly: a bug.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The pages cannot be served.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The groups cannot start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A group ended by itself, or was not done by the deadline.
    #[error("group {group} ended: {ending}")]
    Ended {
        /// The group.
        group: String,
        /// How.
        ending: Ending,
    },
}

impl Postroom {
    /// Reads `postroom.toml` (or what `POSTROOM_CONFIG` names) and the environment.
    ///
    /// # Errors
    /// Everything that is wrong with the configuration.
    pub fn from_env() -> Result<Self, RunError> {
        let environment: Vec<_> = std::env::vars().collect();
        let file = std::env::var_os("POSTROOM_CONFIG").map(Into::into);
        let loaded = load(&Sources { file, environment, ..Sources::default() })?;
        Ok(Self::new(loaded.config))
    }

    /// Starts from a configuration that is there already.
    pub fn new(config: Config) -> Self {
        Self { config, groups: Vec::new() }
    }

    /// Adds a group.
    #[must_use]
    pub fn with(mut self, group: Group) -> Self {
        self.groups.push(group);
        self
    }

    /// Runs until SIGTERM or SIGINT, then drains; a second signal leaves at once.
    ///
    /// # Errors
    /// The groups cannot start, or one ends by itself.
    pub async fn run(self) -> Result<(), RunError> {
        let metrics = Metrics::new(
            &BuildInfo::current(crate::kafka::client_version()),
            Arc::new(Board::new(env!("CARGO_PKG_VERSION"))),
        )?;
        let log = &self.config.log;
        let settings = LogSettings {
            level: log.level.clone(),
            format: log.format,
            repeats: log.repeats.get(),
            color: Color::Off,
        };
        let _log = log::start(&settings, Some(&metrics))?;
        let _http = HttpServer::configured(&self.config, &metrics, axum::Router::new())?;
        let drain = self.config.shutdown.deadline;
        let mut service = Service::start(&self.config, self.groups, metrics, Broker::Cluster).await?;
        serve_until_asked(&mut service, drain).await
    }
}

/// Waits for a signal or for a group that ends by itself, then for the end of all.
async fn serve_until_asked(service: &mut Service, drain: Duration) -> Result<(), RunError> {
    let mut signals = Signals::listen().map_err(|error| StartError::Thread(error.to_string()))?;
    let endings = tokio::select! {
        endings = service.ended(drain) => endings,
        _asked = signals.next() => {
            signals.leave_at_the_next();
            service.drain(drain);
            service.ended(drain).await
        }
    };
    let bad = endings.into_iter().find(|(_, ending)| *ending != Ending::Drained);
    bad.map_or(Ok(()), |(group, ending)| Err(RunError::Ended { group, ending }))
}
