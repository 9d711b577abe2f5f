//! Which effects a command runs, as groups.

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::settings::EFFECTS;
use crate::config::Config;
use crate::effects::{Notify, Project};
use crate::runtime::Group;

/// Returns the groups of the enabled effects with their settings; `only` names those that are wanted.
pub(crate) fn groups(config: &mut Config, only: &[String]) -> Result<Vec<Group>, Failure> {
    if let Some(odd) = only.iter().find(|name| !EFFECTS.contains(&name.as_str())) {
        return Err(Failure::new(Exit::Usage, format!("there is no effect {odd:?}"))
            .fix(format!("choose from {}", EFFECTS.join(", "))));
    }
    if !only.is_empty() {
        config.effects.only(only);
    }
    let all = [Group::effect(Notify), Group::effect(Project)];
    let enabled = all.into_iter().filter_map(|group| {
        let effect = config.effects.named(group.name());
        effect.enabled.then(|| {
            group
                .batch_size(effect.batch)
                .concurrency(effect.concurrency)
                .max_attempts(effect.max_attempts)
                .backoff(effect.backoff.base, effect.backoff.cap)
                .deadline(effect.deadline)
        })
    });
    let enabled: Vec<_> = enabled.collect();
    if enabled.is_empty() {
        return Err(Failure::new(Exit::Configuration, "no effect is enabled, so there is nothing to run")
            .fix("set effects.NAME.enabled = true for one of them, or name it with --effects"));
    }
    Ok(enabled)
}
