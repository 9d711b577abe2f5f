//! From global flags to a configuration.

use std::path::PathBuf;

use crate::cli::args::Global;
use crate::cli::effects::EFFECTS;
use crate::cli::failure::Failure;
use crate::cli::running::Running;
use crate::cli::terminal::Terminal;
use crate::config::{Flag, Loaded, LogFormat, Origin, Setting, Sources, load};
use crate::telemetry::Metrics;
use crate::telemetry::log::{LogGuard, LogSettings, start};

/// Loads the configuration of a command.
pub(crate) fn loaded(global: &Global, terminal: &Terminal) -> Result<Loaded, Failure> {
    loaded_with(global, Vec::new(), terminal)
}

/// Loads it with further flags, and says what should be looked at.
pub(crate) fn loaded_with(global: &Global, more: Vec<Flag>, terminal: &Terminal) -> Result<Loaded, Failure> {
    let mut sources = sources(global);
    sources.flags.extend(more);
    let loaded = load(&sources)?;
    for warning in &loaded.warnings {
        terminal.say(&format!(
            "{} {warning}",
            terminal.err_styled(crate::cli::terminal::Style::Warning, "warning:")
        ));
    }
    Ok(loaded)
}

/// Loads one that is meant for another machine: its secrets are not here, and what it warns of is told there.
pub(crate) fn loaded_for_elsewhere(global: &Global) -> Result<Loaded, Failure> {
    Ok(load(&Sources { leave_secrets: true, ..sources(global) })?)
}

fn sources(global: &Global) -> Sources {
    Sources {
        file: global.config.clone(),
        environment: environment(),
        flags: global.flags(),
        effects: EFFECTS.iter().map(|name| (*name).to_owned()).collect(),
        leave_secrets: false,
    }
}

/// Loads it for a command that works on a cluster: where no brokers are named and a demo runs, that demo's.
pub(crate) fn loaded_for_cluster(global: &Global, terminal: &Terminal) -> Result<Loaded, Failure> {
    let loaded = loaded(global, terminal)?;
    if !is_default(&loaded, "kafka.brokers") {
        return Ok(loaded);
    }
    let Some(demo) = Running::find() else { return Ok(loaded) };
    terminal.say(&terminal.err_styled(
        crate::cli::terminal::Style::Faint,
        &format!("using the demo that runs with brokers {}", demo.brokers),
    ));
    let mut loaded = loaded_with(global, vec![demo.of_brokers()], terminal)?;
    // A demo's records name the schemas that are built in.
    loaded.config.registry.url = None;
    Ok(loaded)
}

/// Loads it for a command that looks at everything: where neither brokers nor a store are named and a demo runs, that
/// demo's.
pub(crate) fn loaded_for_demo(global: &Global, terminal: &Terminal) -> Result<Loaded, Failure> {
    let loaded = loaded(global, terminal)?;
    if !is_default(&loaded, "kafka.brokers") || !is_default(&loaded, "store.url") {
        return Ok(loaded);
    }
    let Some(demo) = Running::find() else { return Ok(loaded) };
    terminal.say(&terminal.err_styled(
        crate::cli::terminal::Style::Faint,
        &format!("looking at the demo that runs with brokers {}", demo.brokers),
    ));
    // What is said for this command alone counts.
    let named = |path: &str| {
        let named = |setting: &Setting| setting.path == path && matches!(setting.origin, Origin::Flag(_));
        loaded.settings.iter().any(named)
    };
    let own = demo.of_settings(|path| !named(path));
    let flags = std::iter::once(demo.of_brokers()).chain(own).chain(demo.of_store()).collect();
    loaded_with(global, flags, terminal)
}

/// Loads it for a command that works on the store: where none is named and a demo runs, that demo's.
pub(crate) fn loaded_for_store(global: &Global, terminal: &Terminal) -> Result<Loaded, Failure> {
    let loaded = loaded(global, terminal)?;
    if !is_default(&loaded, "store.url") {
        return Ok(loaded);
    }
    let Some(demo) = Running::find() else { return Ok(loaded) };
    terminal.say(&terminal.err_styled(
        crate::cli::terminal::Style::Faint,
        &format!("using the store of the demo that runs: {}", demo.store),
    ));
    // Its store comes with its rules: what it delivers to must be what this command would add.
    let rules = demo.of_settings(|path| path.starts_with("webhooks.") && is_default(&loaded, path));
    loaded_with(global, rules.chain(demo.of_store()).collect(), terminal)
}

/// Starts the log as configured. `RUST_LOG` counts where the level is not set.
pub(crate) fn start_log(
    loaded: &Loaded,
    metrics: Option<&Metrics>,
    terminal: &Terminal,
) -> Result<LogGuard, Failure> {
    let log = &loaded.config.log;
    let is_open = is_default(loaded, "log.level");
    let from_environment = std::env::var("RUST_LOG").ok().filter(|_| is_open);
    // A command that a person waits for is quiet; a process that serves says what it does.
    let quiet = (is_open && metrics.is_none()).then(|| "warn".to_owned());
    let settings = LogSettings {
        level: from_environment.or(quiet).unwrap_or_else(|| log.level.clone()),
        // Of a command, a person waits for it, whatever its errors go to.
        format: if log.format == LogFormat::Auto && metrics.is_none() {
            LogFormat::Pretty
        } else {
            log.format
        },
        repeats: log.repeats.get(),
        color: terminal.err_colors(),
    };
    Ok(start(&settings, metrics)?)
}

pub(crate) fn is_default(loaded: &Loaded, path: &str) -> bool {
    loaded.settings.iter().any(|setting| setting.path == path && setting.origin == Origin::Default)
}

/// Returns the process's variables.
pub(crate) fn environment() -> Vec<(String, String)> {
    // Names and values that are not text cannot be settings.
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

impl Global {
    fn flags(&self) -> Vec<Flag> {
        let flag = |name: &str, setting: &str, value: &Option<String>| {
            let value = value.clone()?;
            Some(Flag { name: name.to_owned(), setting: setting.to_owned(), value })
        };
        let mut flags: Vec<_> = self
            .set
            .iter()
            .map(|(setting, value)| Flag {
                name: "--set".to_owned(),
                setting: setting.clone(),
                value: value.clone(),
            })
            .collect();
        flags.extend(
            [
                flag("--brokers", "kafka.brokers", &self.brokers),
                flag("--log-level", "log.level", &self.log_level),
                flag("--log-format", "log.format", &self.log_format),
            ]
            .into_iter()
            .flatten(),
        );
        flags
    }
}

/// Returns the folder for what is made in passing: the runtime folder of the session, else the cache folder.
pub(crate) fn scratch_folder() -> Option<PathBuf> {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = from("XDG_RUNTIME_DIR")
        .filter(|path| path.is_dir())
        .or_else(|| from("XDG_CACHE_HOME"))
        .or_else(|| from("HOME").map(|home| home.join(".cache")));
    folder.map(|folder| folder.join("postroom"))
}
