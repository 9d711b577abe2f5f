//! `postroom run`: the effects against a real Kafka, until a signal.

use crate::cli::args::{Global, RunArgs};
use crate::cli::effects::groups;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::serving::{Serving, drain, runtime, verdict};
use crate::cli::settings::loaded_with;
use crate::cli::terminal::Terminal;
use crate::config::Flag;
use crate::runtime::Broker;
use crate::runtime::shutdown::Signals;

pub(crate) fn run(global: &Global, arguments: &RunArgs, terminal: &Terminal) -> Result<Exit, Failure> {
    let listen = arguments.listen.clone().map(|value| Flag {
        name: "--listen".to_owned(),
        setting: "http.listen".to_owned(),
        value,
    });
    let mut loaded = loaded_with(global, listen.into_iter().collect(), terminal)?;
    let groups = groups(&mut loaded.config, &arguments.effects)?;
    let serving = Serving::start(&loaded, terminal)?;
    Serving::say_configuration(&loaded);
    if let Some(http) = &serving.http {
        tracing::info!(address = %http.address(), "pages are served: /metrics /livez /readyz /api/status");
    }
    let config = &loaded.config;
    let runtime = runtime()?;
    let exit = runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let mut service = serving.groups(config, groups, Broker::Cluster).await?;
        tokio::select! {
            endings = service.ended(config.shutdown.deadline) => return verdict(endings),
            asked = signals.next() => tracing::info!(?asked, "draining"),
        }
        drain(&mut service, &serving.metrics, signals, config.shutdown.deadline).await
    });
    // A thread that hangs in the client must not keep the process.
    runtime.shutdown_background();
    exit
}
