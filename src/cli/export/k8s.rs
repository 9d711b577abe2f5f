//! Manifests for Kubernetes, made from the settings that will run there.

use std::path::Path;
use std::time::Duration;

use crate::cli::args::{Global, K8sArgs, K8sPart};
use crate::cli::exit::Exit;
use crate::cli::export::{filled, indented};
use crate::cli::failure::Failure;
use crate::cli::settings::loaded_for_elsewhere;
use crate::config::{Loaded, Origin, StoreUrl};

pub(crate) fn manifests(global: &Global, arguments: &K8sArgs) -> Result<String, Failure> {
    let template = match arguments.part {
        K8sPart::NetworkPolicy => NETWORK_POLICY,
        K8sPart::Postroom => POSTROOM,
        K8sPart::ServiceMonitor => SERVICE_MONITOR,
    };
    let loaded = loaded_for_elsewhere(global)?;
    let http = &loaded.config.http;
    if !http.enabled || (http.listen.is_loopback() && global.config.is_some()) {
        return Err(Failure::new(
            Exit::Configuration,
            "probes could not reach the pages of this configuration",
        )
        .fix("set http.enabled = true and http.listen = \"0.0.0.0:9464\""));
    }
    let settings = match &global.config {
        Some(file) => settings_of(file, &loaded)?,
        None => SETTINGS.to_owned(),
    };
    let port = http.listen.0.port();
    Ok(filled(
        template,
        &[
            ("SETTINGS", indented(&settings, 4).trim_end().to_owned()),
            ("IMAGE", arguments.image.clone()),
            ("REPLICAS", arguments.replicas.to_string()),
            ("PORT", port.to_string()),
            ("GRACE", grace(loaded.config.shutdown.deadline).to_string()),
            ("VERSION", env!("CARGO_PKG_VERSION").to_owned()),
        ],
    ))
}

/// How long Kubernetes waits for the end of a pod: the drain's limit and 15 s, in seconds.
fn grace(drain: Duration) -> u64 {
    drain.as_secs().saturating_add(15).saturating_add(u64::from(drain.subsec_nanos() > 0))
}

/// Returns the text of the settings, which goes into a ConfigMap that many may read.
fn settings_of(file: &Path, loaded: &Loaded) -> Result<String, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::new(Exit::NotFound, format!("{}: {error}", file.display())))?;
    let is_open = |line: Option<usize>| {
        let line = line.and_then(|line| text.lines().nth(line.saturating_sub(1)));
        line.is_none_or(|line| !line.contains("_file"))
    };
    let open = loaded.settings.iter().find(|setting| match &setting.origin {
        Origin::File { line, .. } => setting.value.contains("[redacted]") && is_open(*line),
        Origin::Default | Origin::Environment(_) | Origin::Flag(_) => false,
    });
    let in_address = matches!(&loaded.config.store.url, StoreUrl::Postgres(url) if url.has_password());
    let open = open.map(|setting| setting.path.as_str()).or_else(|| in_address.then_some("store.url"));
    match open {
        Some(setting) => Err(Failure::new(
            Exit::Configuration,
            format!("{setting} stands in {} with a secret, and a ConfigMap keeps none", file.display()),
        )
        .fix("take it out: a key that ends in _file names a file below /run/secrets, where the Secret is")),
        None => Ok(text),
    }
}

const SETTINGS: &str = include_str!("../../../deploy/k8s/postroom.toml");
const POSTROOM: &str = include_str!("postroom.yaml");
const NETWORK_POLICY: &str = include_str!("network-policy.yaml");
const SERVICE_MONITOR: &str = include_str!("service-monitor.yaml");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_gets_a_quarter_of_a_minute_more_than_the_drain() {
        assert_eq!(grace(Duration::from_secs(25)), 40);
        assert_eq!(grace(Duration::from_millis(25_500)), 41);
    }
}
