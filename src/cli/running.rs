//! The demo that runs: where the other commands find it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::settings::scratch_folder;
use crate::config::Flag;

/// The addresses of a running demo, as its file holds them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Running {
    /// The process.
    pub(crate) pid: u32,
    /// The brokers to connect to.
    pub(crate) brokers: String,
    /// The address of the pages, where they are served.
    pub(crate) http: Option<String>,
    /// The store's address, without a password: commands have it from the same settings as the demo.
    pub(crate) store: String,
    /// The store's schema.
    #[serde(default)]
    pub(crate) schema: Option<String>,
    /// What is set of mail, objects and how endpoints are reached: paths and values.
    #[serde(default)]
    pub(crate) settings: Vec<(String, String)>,
}

fn flag(setting: &str, value: &str) -> Flag {
    Flag { name: "the running demo".to_owned(), setting: setting.to_owned(), value: value.to_owned() }
}

/// The file of a running demo, removed when dropped.
pub(crate) struct RunningFile {
    path: PathBuf,
    pid: u32,
}

impl Running {
    /// Finds the demo that was started last and still runs.
    pub(crate) fn find() -> Option<Self> {
        let text = std::fs::read_to_string(path()?).ok()?;
        let running: Self = serde_json::from_str(&text).ok()?;
        is_alive(running.pid).then_some(running)
    }

    /// Returns the settings with which others find its store.
    pub(crate) fn of_store(&self) -> Vec<Flag> {
        let schema = self.schema.iter().map(|schema| flag("store.schema", schema));
        std::iter::once(flag("store.url", &self.store)).chain(schema).collect()
    }

    /// Returns the setting with which others find its broker.
    pub(crate) fn of_brokers(&self) -> Flag {
        flag("kafka.brokers", &self.brokers)
    }

    /// Returns its own settings that others need, where `wanted` says so of their paths.
    pub(crate) fn of_settings(&self, wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = Flag> {
        let wanted = self.settings.iter().filter(move |(path, _)| wanted(path));
        wanted.map(|(path, value)| flag(path, value))
    }

    /// Writes the file for the others; `None` where there is no folder for it.
    pub(crate) fn announce(&self) -> Result<Option<RunningFile>, Failure> {
        let Some(path) = path() else { return Ok(None) };
        let cannot = |error: std::io::Error| {
            Failure::new(Exit::CannotCreate, format!("{} cannot be written: {error}", path.display()))
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(cannot)?;
        }
        // A reader sees the whole file or the one before.
        let fresh = path.with_extension(format!("{}.new", self.pid));
        std::fs::write(&fresh, serde_json::to_string_pretty(self)?).map_err(cannot)?;
        std::fs::rename(&fresh, &path).map_err(cannot)?;
        Ok(Some(RunningFile { path, pid: self.pid }))
    }
}

impl Drop for RunningFile {
    fn drop(&mut self) {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        let own = serde_json::from_str::<Running>(&text).is_ok_and(|running| running.pid == self.pid);
        if own {
            std::fs::remove_file(&self.path).unwrap_or_default();
        }
    }
}

fn path() -> Option<PathBuf> {
    scratch_folder().map(|folder| folder.join("demo.json"))
}

fn is_alive(pid: u32) -> bool {
    PathBuf::from(format!("/proc/{pid}")).exists()
}
