//! Which effects a command runs, as groups.

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::config::Config;
use crate::effects::{Notify, NotifySettings, Project};
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
        match group(name, config, requests) {
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

/// What `notify` leaves for other effects: mails and deliveries are asked for only where they are carried out by some
/// process of this configuration.
fn requests(config: &Config) -> NotifySettings {
    let enabled = |name: &str| config.effects.named(name).enabled;
    let sends = enabled("mail") && group("mail", config, NotifySettings::default()).is_ok();
    NotifySettings { mail: sends.then_some(config.mail.max_age), webhooks: enabled("webhooks") }
}

/// Makes the group of an effect, or says what the configuration lacks for it.
fn group(name: &str, _config: &Config, requests: NotifySettings) -> Result<Group, &'static str> {
    match name {
        "notify" => Ok(Group::effect(Notify::new(requests))),
        "project" => Ok(Group::effect(Project)),
        _ => Err("it is not built yet"),
    }
}
