//! Which effects a command runs, as groups.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use postroom_core::Ordering;

use crate::adapters::cache::{HttpCache, RedisCache};
use crate::adapters::objects;
use crate::adapters::pictures::{PicturePool, WorkerSettings};
use crate::adapters::web::{WebClient, WebSettings};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::mail;
use crate::cli::settings::environment;
use crate::config::{Config, Place, THUMBNAILS_DEADLINE};
use crate::effects::webhooks;
use crate::effects::{
    Notify, NotifySettings, OBJECTS, PICTURES, Project, Purge, Search, Thumbnail, Webhooks,
};
use crate::event::EventType;
use crate::ports::{Cache, Objects, ThumbnailSpec};
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
    // Before a choice for this process: another may run what it leaves out.
    let requests = requests(config);
    if !only.is_empty() {
        config.effects.only(only);
    }
    let mut enabled = Vec::new();
    for name in EFFECTS {
        let effect = config.effects.named(name);
        if !effect.enabled {
            continue;
        }
        match made(name, config, requests)? {
            Made::Group(group) => enabled.push(group.configured(&effect)),
            Made::Lacking(what) if only.iter().any(|wanted| wanted == name) => {
                return Err(Failure::new(Exit::Configuration, format!("{name} cannot run: {what}")));
            }
            Made::Lacking(_) => {}
        }
    }
    if enabled.is_empty() {
        return Err(Failure::new(Exit::Configuration, "no effect is enabled, so there is nothing to run")
            .fix("set effects.NAME.enabled = true for one of them, or name it with --effects"));
    }
    Ok(enabled)
}

/// Returns the effects that are enabled and do not run, each with what the configuration lacks.
pub(crate) fn left_out(config: &Config) -> Result<Vec<(&'static str, &'static str)>, Failure> {
    let mut left_out = Vec::new();
    for name in EFFECTS.into_iter().filter(|name| config.effects.named(name).enabled) {
        if let Made::Lacking(what) = made(name, config, requests(config))? {
            left_out.push((name, what));
        }
    }
    Ok(left_out)
}

/// What `notify` leaves for other effects: mails and deliveries are asked for only where they are carried out by some
/// process of this configuration.
fn requests(config: &Config) -> NotifySettings {
    let enabled = |name: &str| config.effects.named(name).enabled;
    let sends = enabled("mail") && config.mail.relay.is_some() && config.mail.from.is_some();
    NotifySettings {
        mail: sends.then_some(config.mail.max_age),
        webhooks: enabled("webhooks").then_some(config.webhooks.max_age),
    }
}

/// What a configuration makes of an effect.
enum Made {
    Group(Group),
    /// It does not say what only a person can.
    Lacking(&'static str),
}

fn made(name: &str, config: &Config, requests: NotifySettings) -> Result<Made, Failure> {
    let set_up = |group: Option<Group>, lacking| group.map_or(Made::Lacking(lacking), Made::Group);
    Ok(match name {
        "mail" => set_up(mail::group(config)?, "mail.relay and mail.from are not set"),
        "notify" => Made::Group(Group::effect(Notify::new(requests))),
        "project" => Made::Group(Group::effect(Project)),
        "purge" => set_up(
            purge(config),
            "[purge] names no cache: set purge.urls, purge.surrogate_url or purge.redis",
        ),
        "search" => Made::Group(Group::effect(Search)),
        "webhooks" => Made::Group(endpoints(config)?),
        _ => set_up(thumbnails(config)?, "objects.source is not set"),
    })
}

/// Makes the group that tells endpoints. One delivery of an endpoint is out at a time, so none waits for another here,
/// and there is room for many that hang.
fn endpoints(config: &Config) -> Result<Group, Failure> {
    let client = web_client(config)?;
    let now = || jiff::Timestamp::now().as_millisecond();
    let owner = format!("{}-{:016x}", std::process::id(), fastrand::u64(..));
    let settings = &config.webhooks;
    let mut effect = Webhooks::new(Arc::new(client), Arc::new(now), settings.budget, owner);
    if !settings.disable_after.is_zero() {
        effect = effect.disable_after(settings.disable_after);
    }
    let group = Group::each("webhooks", effect)
        .ordering(Ordering::Unordered)
        .depends_on(webhooks::DEPENDENCY)
        .at_strangers_mercy();
    Ok(group.concurrency(NonZeroUsize::new(1_024).unwrap_or(NonZeroUsize::MIN)))
}

/// Makes the client for hosts that others named.
pub(crate) fn web_client(config: &Config) -> Result<WebClient, Failure> {
    WebSettings::of(&config.webhooks)
        .and_then(WebClient::new)
        .map_err(|why| Failure::new(Exit::Configuration, why))
}

/// Makes the clients of the caches to purge.
pub(crate) fn caches(config: &Config) -> Vec<Arc<dyn Cache>> {
    let settings = &config.purge;
    // From the inside outwards: pages are made of values.
    let mut caches: Vec<Arc<dyn Cache>> = Vec::new();
    if let Some(url) = &settings.redis {
        caches.push(Arc::new(RedisCache::new(url, settings.redis_password.as_ref(), settings.timeout)));
    }
    if !settings.urls.0.is_empty() || settings.surrogate_url.is_some() {
        caches.push(Arc::new(HttpCache::new(settings)));
    }
    caches
}

/// Makes the group that purges caches, where there is one to purge.
fn purge(config: &Config) -> Option<Group> {
    let (settings, caches) = (&config.purge, caches(config));
    let purge = Group::batches("purge", Purge::new(settings, caches.clone()));
    (!caches.is_empty()).then(|| purge.of_types(&PURGED).depends_on("cache"))
}

static PURGED: [EventType; 8] = Purge::TYPES;

/// Makes the group that shrinks pictures. Runs beyond the workers would wait for each other while their deadlines run.
fn thumbnails(config: &Config) -> Result<Option<Group>, Failure> {
    let places = config.objects.source.as_ref().zip(config.objects.target());
    let Some((source, target)) = places else { return Ok(None) };
    let settings = &config.thumbnails;
    let (pictures, spec) = pictures(config);
    let thumbnail = Thumbnail {
        source: open(source, config)?,
        target: open(target, config)?,
        pictures: Arc::new(pictures),
        spec,
        max_bytes: settings.max_bytes.0,
        prefix: settings.prefix.clone(),
    };
    let group =
        Group::each("thumbnails", thumbnail).concurrency(settings.workers).deadline(THUMBNAILS_DEADLINE);
    Ok(Some(group.depends_on(OBJECTS).depends_on(PICTURES)))
}

/// Makes the store of objects of a place.
pub(crate) fn open(place: &Place, config: &Config) -> Result<Arc<dyn Objects>, Failure> {
    objects::open(place, &config.s3, &environment())
        .map_err(|why| Failure::new(Exit::Configuration, format!("{place}: {why}")))
}

/// Makes the pool of picture workers, and says what it is to make.
pub(crate) fn pictures(config: &Config) -> (PicturePool, ThumbnailSpec) {
    let settings = &config.thumbnails;
    let pool = PicturePool::new(WorkerSettings {
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
    (pool, spec)
}

/// This program, also where its file was replaced since it started.
fn own_program() -> PathBuf {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() { running } else { std::env::current_exe().unwrap_or(running) }
}
