//! Which effects a command runs, as groups.

use std::sync::Arc;

use crate::adapters::cache::{HttpCache, RedisCache};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::config::Config;
use crate::effects::{Notify, Project, Purge};
use crate::event::EventType;
use crate::ports::Cache;
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
            Ok(group) => enabled.push(group.configured(&effect)),
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
        "purge" => purge(config),
        _ => Err("it is not built yet"),
    }
}

/// Makes the group that purges caches, where there is one to purge.
fn purge(config: &Config) -> Result<Group, &'static str> {
    let settings = &config.purge;
    // From the inside outwards: pages are made of values.
    let mut caches: Vec<Arc<dyn Cache>> = Vec::new();
    if let Some(url) = &settings.redis {
        caches.push(Arc::new(RedisCache::new(url, settings.redis_password.as_ref(), settings.timeout)));
    }
    if !settings.urls.0.is_empty() || settings.surrogate_url.is_some() {
        caches.push(Arc::new(HttpCache::new(settings)));
    }
    if caches.is_empty() {
        return Err("[purge] names no cache: set purge.urls, purge.surrogate_url or purge.redis");
    }
    Ok(Group::batches("purge", Purge::new(settings, caches)).of_types(&PURGED).depends_on("cache"))
}

static PURGED: [EventType; 8] = Purge::TYPES;
