//! The crash windows: where a blow hurts most.

use super::happening::Happening;
use super::history::Process;
use super::member::Life;
use super::reached::Point;
use super::worker::Step;
use super::world::World;
use crate::input::Input;

/// A blow that waits in a window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trap {
    pub(super) window: Window,
    pub(super) blow: Blow,
    /// How many chances to let pass.
    pub(super) spare: u32,
}

/// What befalls a process in a window.
#[derive(Clone, Copy, Debug)]
pub(super) enum Blow {
    Crash,
    Freeze,
}

/// A crash window of the promises, by its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Window {
    W1Fetched,
    W2BeforeHandler,
    W3BeforeEffect,
    W4AfterEffect,
    W5BeforeTransaction,
    W6InTransaction,
    W7AfterTransaction,
    W8BeforeCommit,
    W9InCommit,
    W10InRevoke,
    W11Drained,
    W12Assigned,
    W13DeadLetterSent,
    W14DeadLettered,
    W20InDrain,
    W23InClaim,
}

impl Window {
    /// All windows.
    pub(super) const ALL: [Self; 16] = [
        Self::W1Fetched,
        Self::W2BeforeHandler,
        Self::W3BeforeEffect,
        Self::W4AfterEffect,
        Self::W5BeforeTransaction,
        Self::W6InTransaction,
        Self::W7AfterTransaction,
        Self::W8BeforeCommit,
        Self::W9InCommit,
        Self::W10InRevoke,
        Self::W11Drained,
        Self::W12Assigned,
        Self::W13DeadLetterSent,
        Self::W14DeadLettered,
        Self::W20InDrain,
        Self::W23InClaim,
    ];

    /// Says whether a process seldom comes here: no chance is let pass.
    pub(super) fn is_rare(self) -> bool {
        matches!(
            self,
            Self::W10InRevoke
                | Self::W11Drained
                | Self::W13DeadLetterSent
                | Self::W14DeadLettered
                | Self::W20InDrain
                | Self::W23InClaim
        )
    }

    /// Returns the window in which a process is just before `what`.
    pub(super) fn of(what: &Happening) -> Option<(Process, Self)> {
        let window = match what {
            Happening::Tell(process, input) => match **input {
                Input::Records { .. } => (*process, Self::W1Fetched),
                Input::Completed { .. } => (*process, Self::W7AfterTransaction),
                _ => return None,
            },
            Happening::Work(process, _, Step::Begin) => (*process, Self::W2BeforeHandler),
            Happening::Work(process, _, Step::End) => (*process, Self::W3BeforeEffect),
            Happening::Work(process, _, Step::Next) => (*process, Self::W4AfterEffect),
            Happening::Work(process, _, Step::Transact) => (*process, Self::W5BeforeTransaction),
            Happening::TransactionArrives(process, ..) => (*process, Self::W6InTransaction),
            Happening::CommitArrives(process, _) => (*process, Self::W9InCommit),
            Happening::CallbackEnd(process, _) => (*process, Self::W11Drained),
            Happening::DeadLetterArrives(process, _) => (*process, Self::W13DeadLetterSent),
            Happening::ClaimArrives(process, _, _) => (*process, Self::W23InClaim),
            _ => return None,
        };
        Some(window)
    }

    /// Returns the window in which a process is just after it was told `input`.
    pub(super) fn after<T>(input: &Input<T>) -> Option<Self> {
        match input {
            Input::Completed { .. } => Some(Self::W8BeforeCommit),
            Input::Revoked { .. } => Some(Self::W10InRevoke),
            Input::Assigned { .. } => Some(Self::W12Assigned),
            Input::DeadLettered { .. } => Some(Self::W14DeadLettered),
            Input::Drain { .. } => Some(Self::W20InDrain),
            _ => None,
        }
    }

    fn point(self, blow: Blow) -> Point {
        let (crash, freeze) = match self {
            Self::W1Fetched => (Point::CrashFetched, Point::FreezeFetched),
            Self::W2BeforeHandler => (Point::CrashBeforeHandler, Point::FreezeBeforeHandler),
            Self::W3BeforeEffect => (Point::CrashBeforeEffect, Point::FreezeBeforeEffect),
            Self::W4AfterEffect => (Point::CrashAfterEffect, Point::FreezeAfterEffect),
            Self::W5BeforeTransaction => (Point::CrashBeforeTransaction, Point::FreezeBeforeTransaction),
            Self::W6InTransaction => (Point::CrashInTransaction, Point::FreezeInTransaction),
            Self::W7AfterTransaction => (Point::CrashAfterTransaction, Point::FreezeAfterTransaction),
            Self::W8BeforeCommit => (Point::CrashBeforeCommit, Point::FreezeBeforeCommit),
            Self::W9InCommit => (Point::CrashInCommit, Point::FreezeInCommit),
            Self::W10InRevoke => (Point::CrashInRevoke, Point::FreezeInRevoke),
            Self::W11Drained => (Point::CrashDrained, Point::FreezeDrained),
            Self::W12Assigned => (Point::CrashAssigned, Point::FreezeAssigned),
            Self::W13DeadLetterSent => (Point::CrashDeadLetterSent, Point::FreezeDeadLetterSent),
            Self::W14DeadLettered => (Point::CrashDeadLettered, Point::FreezeDeadLettered),
            Self::W20InDrain => (Point::CrashInDrain, Point::FreezeInDrain),
            Self::W23InClaim => (Point::CrashInClaim, Point::FreezeInClaim),
        };
        match blow {
            Blow::Crash => crash,
            Blow::Freeze => freeze,
        }
    }
}

impl World {
    /// Springs the trap if it lies in this window.
    pub(super) fn spring(&mut self, process: Process, window: Window) {
        let Some(trap) = self.nemesis.trap.as_mut().filter(|trap| trap.window == window) else { return };
        if !matches!(
            self.members.get(usize::try_from(process.0).unwrap_or(usize::MAX)).map(|m| m.life),
            Some(Life::Running | Life::Closing)
        ) {
            return;
        }
        if trap.spare > 0 {
            trap.spare -= 1;
            return;
        }
        let blow = trap.blow;
        self.nemesis.trap = None;
        self.reached.note(window.point(blow));
        match blow {
            Blow::Crash => self.crash(process),
            Blow::Freeze => self.freeze(process),
        }
    }
}
