//! Stories as the page shows them.

use minijinja::{Value, context};

use crate::console::events::of_deed;
use crate::console::story::{Standing, Story};
use crate::console::text::masked;
use crate::console::words::{from_now, grouped, rfc3339};
use crate::telemetry::JournalEvent;

/// Turns a story into what its template takes.
pub(crate) fn story(story: Story, now: i64) -> Value {
    // Where every group has told what it did, nothing is missing.
    let told = |group: &str| story.deeds.iter().any(|deed| deed.group == group);
    let is_sampled = story.journal_passed_over > 0 && !story.groups.iter().all(|group| told(&group.group));
    let any_reply = story.caused.iter().any(|one| one.reply.is_some());
    let groups: Vec<_> = story
        .groups
        .into_iter()
        .map(|group| {
            let (kind, sign) = standing(group.state);
            context! {
                handler => group.handler, name => group.group, kind, sign, words => group.words,
                attempts => group.attempts, message => group.message, next => group.next, command => group.command,
                at => group.at.map(rfc3339), when => group.at.map(|at| from_now(now, at)),
            }
        })
        .collect();
    let deeds: Vec<_> = story
        .deeds
        .into_iter()
        .map(|deed| {
            let (kind, sign, words) =
                of_deed(&deed, now).unwrap_or_else(|| ("skipped", "–", "none of this group's events".to_owned()));
            context! { at => rfc3339(deed.at), group => deed.group, attempt => deed.attempt, kind, sign, words, message => deed.message }
        })
        .collect();
    let caused: Vec<_> = story
        .caused
        .into_iter()
        .map(|one| {
            context! {
                what => one.what, name => masked(&one.name), id => one.id, state => one.state, attempts => one.attempts,
                reply => one.reply.as_deref().map(masked), at => one.at.map(rfc3339),
                next => one.next_at.map(|next| from_now(now, next)),
                tries => one.tries.iter().map(|one| context! {
                    attempt => one.attempt, when => rfc3339(one.began_at), reply => one.reply.as_deref().map(masked),
                }).collect::<Vec<_>>(),
            }
        })
        .collect();
    context! {
        id => story.id, event_type => story.event_type, place => story.place.as_ref().map(ToString::to_string),
        key => story.key, subject => story.subject, occurred_at => story.occurred_at.map(rfc3339), groups, deeds, caused,
        any_reply,
        passed_over => is_sampled
            .then(|| grouped(i64::try_from(story.journal_passed_over).unwrap_or(i64::MAX))),
    }
}

/// Returns the class and the sign of a standing.
pub(crate) fn standing(state: Standing) -> (&'static str, &'static str) {
    match state {
        Standing::DeadLetter => ("dead", "✕"),
        Standing::Deferred => ("deferred", "⏲"),
        Standing::Finished => ("ok", "✓"),
        Standing::Retry => ("retry", "↻"),
        Standing::Skipped => ("skipped", "–"),
        Standing::Unknown => ("skipped", "?"),
        Standing::Waiting => ("waiting", "…"),
    }
}

/// Masks the addresses in an event of the journal.
pub(crate) fn without_addresses(mut event: JournalEvent) -> JournalEvent {
    let described = &mut event.described;
    for text in [&mut described.key, &mut described.subject] {
        *text = text.as_deref().map(masked);
    }
    for deed in &mut event.deeds {
        deed.message = deed.message.as_deref().map(masked);
    }
    event
}
