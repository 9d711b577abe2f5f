//! Which effects a command runs, as groups.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use crate::adapters::objects::Folder;
use crate::adapters::pictures::{PicturePool, WorkerSettings};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::config::Config;
use crate::effects::{Notify, OBJECTS, PICTURES, Project, Thumbnail};
use crate::ports::ThumbnailSpec;
use crate::runtime::Group;

/// The effects that come with Postroom.
pub(crate) const EFFECTS: [&str; 7] =
    ["mail", "notify", "project", "purge", "search", "thumbnails", "webhooks"];

/// Returns the groups of the enabled effects with their settings; `only` names those that are wanted.
///
/// An effect that lacks what only a person can tell it, such as the mail relay, is left out; where it is named it is
/// an error.
pub(crate) fn groups(config: &mut Config, only: &[String]) -> Result<Vec<Group>, Failure> {
    if let Some(odd) = only.iter().find(|name| !EFFECTS.contains(&name.as_str())) {
        return Err(Failure::new(Exit::Usage, format!("there is no effect {odd:?}"))
            .fix(format!("choose from {}", EFFECTS.join(", "))));
    }
    if !only.is_empty() {
        config.effects.only(only);
    }
    let mut enabled = Vec::new();
    for name in EFFECTS {
        let effect = config.effects.named(name);
        if !effect.enabled {
            continue;
        }
        match group(name, config) {
            Ok(group) => {
                let concurrency = effect.concurrency.min(most_at_once(name, config));
                enabled.push(group.configured(&effect).concurrency(concurrency));
            }
            Err(lacking) if only.iter().any(|wanted| wanted == name) => {
                return Err(Failure::new(Exit::Configuration, format!("{name} cannot run: {lacking}")));
            }
            Err(_lacking) => {}
        }
    }
    if enabled.is_empty() {
        return Err(Failure::new(Exit::Configuration, "no effect is enabled, so there is nothing to run")
            .fix("set effects.NAME.enabled = true for one of them, or name it with --effects"));
    }
    Ok(enabled)
}

/// Makes the group of an effect, or says what the configuration lacks for it.
fn group(name: &str, config: &Config) -> Result<Group, &'static str> {
    match name {
        "notify" => Ok(Group::effect(Notify)),
        "project" => Ok(Group::effect(Project)),
        "thumbnails" => thumbnails(config),
        _ => Err("it is not built yet"),
    }
}

/// Returns how many runs of an effect are worth having in flight: beyond that they would wait for each other while
/// their deadlines run.
fn most_at_once(name: &str, config: &Config) -> NonZeroUsize {
    match name {
        "thumbnails" => config.thumbnails.workers,
        _ => NonZeroUsize::MAX,
    }
}

fn thumbnails(config: &Config) -> Result<Group, &'static str> {
    let folder = config.objects.folder.as_ref().ok_or("objects.folder is not set")?;
    let settings = &config.thumbnails;
    let pictures = PicturePool::new(WorkerSettings {
        program: settings.worker.clone().unwrap_or_else(own_program),
        workers: settings.workers.get(),
        memory: settings.memory.0,
        timeout: settings.timeout,
    });
    let spec = ThumbnailSpec {
        widths: settings.widths.pixels().to_vec(),
        max_pixels: u64::from(settings.max_pixels.get()),
        quality: u8::try_from(settings.quality.get()).unwrap_or(u8::MAX),
    };
    let thumbnail = Thumbnail {
        objects: Arc::new(Folder::new(folder)),
        pictures: Arc::new(pictures),
        spec,
        max_bytes: settings.max_bytes.0,
        prefix: settings.prefix.clone(),
    };
    Ok(Group::each("thumbnails", thumbnail).depends_on(OBJECTS).depends_on(PICTURES))
}

/// This program, also where its file was replaced since it started.
fn own_program() -> PathBuf {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() { running } else { std::env::current_exe().unwrap_or(running) }
}
