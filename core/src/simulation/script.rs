//! What a record does to its handler, fixed when it is produced.

use std::time::Duration;

use super::broker::Stored;
use super::plan::Plan;
use super::random::Random;
use super::reached::{Point, Reached};
use crate::failure::{Class, Dependency, Ended, Failure, Reason};
use crate::input::Outcome;
use crate::settings::Claims;

/// The behaviour of a record's handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    /// Works.
    Good,
    /// Works after a while.
    Slow,
    /// A rule passes over it.
    Skipped,
    /// It is stored for later.
    Deferred,
    /// Fails so many times, then works.
    Transient(u32),
    /// Runs into the deadline so many times, then works.
    Hangs(u32),
    /// Never works.
    Hopeless,
    /// Has its effect and reports an error so many times.
    EffectThenError(u32),
    /// Is refused, or cannot be read.
    Dead(Reason),
    /// Needs a configured dependency.
    NeedsDependency,
    /// Stops the process once.
    Fatal,
}

/// What one try of a record comes to.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) takes: Duration,
    pub(super) effect: Visible,
    pub(super) outcome: Outcome,
}

/// Whether a try leaves its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Visible {
    /// It does.
    Yes,
    /// It does not.
    No,
}

impl Script {
    /// Draws the script of a new record.
    pub(super) fn draw(plan: &Plan, random: &mut Random) -> Self {
        if !random.chance(plan.rates.difficult) {
            return if random.chance(100) { Self::Slow } else { Self::Good };
        }
        let calm = plan.faults.is_empty();
        match random.index(24) {
            0..=2 => Self::Slow,
            3 => Self::Skipped,
            4 => Self::Deferred,
            5..=9 => Self::Transient(random.count(1, 4)),
            10 | 11 => Self::Hangs(random.count(1, 2)),
            12 => Self::Hopeless,
            13 if plan.settings.claims == Claims::AtOnce => Self::EffectThenError(random.count(1, 2)),
            13..=16 => Self::Dead(random.pick(&REFUSED)),
            17..=20 => Self::NeedsDependency,
            21 if !calm && random.chance(200) => Self::Fatal,
            _ => Self::Good,
        }
    }
}

/// Tries a record once.
pub(super) fn attempt(
    stored: &mut Stored,
    away: bool,
    limit: Duration,
    random: &mut Random,
    reached: &mut Reached,
) -> Verdict {
    let before = stored.tries;
    stored.tries += 1;
    let quick = random.micros(1, 5_000);
    let done = Verdict { takes: quick, effect: Visible::Yes, outcome: Outcome::Done };
    let failed = |class| Outcome::Failed(Failure::new(class, "simulated", ""));
    let fails = |class| Verdict { takes: quick, effect: Visible::No, outcome: failed(class) };
    match stored.script {
        Script::Slow => Verdict { takes: random.millis(20, 600).min(limit), ..done },
        Script::Skipped => {
            reached.note(Point::Skipped);
            Verdict { effect: Visible::No, outcome: Outcome::Skipped, ..done }
        }
        Script::Deferred => {
            reached.note(Point::Deferred);
            Verdict { effect: Visible::No, outcome: Outcome::Deferred, ..done }
        }
        Script::Transient(times) if before < times => fails(transient(random, reached)),
        Script::Hopeless if random.chance(700) => fails(transient(random, reached)),
        Script::Hangs(times) if before < times => {
            reached.note(Point::HandlerDeadline);
            Verdict {
                takes: limit,
                ..fails(Class::Transient { retry_after: None, ended: Ended::ByDeadline })
            }
        }
        Script::Hopeless => {
            reached.note(Point::HandlerDeadline);
            fails(Class::Transient { retry_after: None, ended: Ended::ByDeadline })
        }
        Script::EffectThenError(times) if before < times => {
            reached.note(Point::EffectThenError);
            Verdict { effect: Visible::Yes, ..fails(transient(random, reached)) }
        }
        Script::Dead(reason) => {
            reached.note(Point::Dead);
            fails(Class::Dead(reason))
        }
        Script::NeedsDependency if away => {
            reached.note(Point::Outage);
            fails(Class::Outage(Dependency("smtp".into())))
        }
        Script::Fatal if before == 0 => {
            reached.note(Point::Fatal);
            fails(Class::Fatal)
        }
        Script::Good
        | Script::Transient(_)
        | Script::Hangs(_)
        | Script::EffectThenError(_)
        | Script::NeedsDependency
        | Script::Fatal => done,
    }
}

/// Returns a failure that a later try may not meet.
pub(super) fn transient(random: &mut Random, reached: &mut Reached) -> Class {
    reached.note(Point::Transient);
    let retry_after = random.chance(150).then(|| random.millis(1, 4_000));
    if retry_after.is_some() {
        reached.note(Point::RetryAfter);
    }
    Class::Transient { retry_after, ended: Ended::ByError }
}

/// The reasons for which a handler or a decoder refuses.
const REFUSED: [Reason; 6] = [
    Reason::Rejected,
    Reason::Panicked,
    Reason::Undecodable,
    Reason::UnknownSchema,
    Reason::Invalid,
    Reason::TooLarge,
];
