//! The faults of a plan: what each does, which upgrades it hits, and what is to
//! come of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::Expected;

/// A fault, which upgrades it hits, and what is expected of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// What reports call it: the catalogue's id.
    pub id: String,
    /// What it does.
    pub kind: FaultKind,
    /// Which upgrades it hits.
    pub when: When,
    /// The right answer to it.
    pub expect: Expected,
}

/// What a fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// SIGKILL of the successor at a random moment between its exec and its readiness.
    KillBeforeReady,
    /// The successor is hit when it has answered its first client.
    AfterReady {
        /// By what.
        blow: Blow,
        /// How long it stands still, if it does.
        span: Duration,
    },
    /// Another program takes the successor's place, and misbehaves.
    Shim {
        /// How.
        misdeed: Misdeed,
        /// It does so this long after its start.
        after: Duration,
    },
    /// What is at the path of the server's program cannot be executed, or is new.
    Path(Obstacle),
}

/// What befalls a successor that has just begun to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blow {
    /// SIGKILL.
    Kill,
    /// SIGSTOP, and SIGCONT later.
    Freeze,
}

/// Kinds that are a word each, here and for whoever carries them out.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($kind:ident = $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[expect(missing_docs, reason = "the catalogue says what each does")]
        pub enum $name { $($kind,)+ }

        impl $name {
            /// The word for it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $word,)+ }
            }
        }
    };
}

words! {
    /// What the program does that takes a successor's place.
    Misdeed {
        Die = "die",
        Abort = "abort",
        Crash = "crash",
        ReadAndDie = "read-and-die",
        BindAndDie = "bind-and-die",
        AcceptAndDie = "accept-and-die",
        Exit = "exit",
        Fail = "fail",
        Hang = "hang",
        HangOn = "hang-on",
        Freeze = "freeze",
        Babble = "babble",
        Mumble = "mumble",
        Flood = "flood",
        ClosePipes = "close-pipes",
        LeaveChild = "leave-child",
        Daemonise = "daemonise",
        ShutListeners = "shut-listeners",
        Slow = "slow",
        LittleMemory = "little-memory",
        FewFiles = "few-files",
        Chain = "chain",
        IgnoreHangup = "ignore-hangup",
        BlockSignals = "block-signals",
        DropPrivileges = "drop-privileges",
        MakeBlocking = "make-blocking",
        MakeBlockingAndDie = "make-blocking-and-die",
    }
}

words! {
    /// What is at the path of the server's program in its place.
    Obstacle {
        Missing = "missing",
        NotExecutable = "not-executable",
        Directory = "directory",
        OtherMachine = "other-machine",
        Truncated = "truncated",
        Empty = "empty",
        WrittenTo = "written-to",
        Loop = "link-loop",
        NoInterpreter = "no-interpreter",
        Replaced = "replaced",
    }
}

impl FaultKind {
    /// Whether it needs the path that the server is started by.
    #[must_use]
    pub fn needs_path(self) -> bool {
        match self {
            Self::Shim { .. } | Self::Path(_) => true,
            Self::KillBeforeReady | Self::AfterReady { .. } => false,
        }
    }
}

/// Which upgrades a fault hits. One upgrade is hit by one fault at the most: by the
/// first of the file that is due. Another that is due hits a later upgrade.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Every one whose number is a multiple of this.
    Every(u64),
    /// Those with these numbers.
    Upgrades(Vec<u64>),
    /// Each with this probability, drawn from the plan's seed.
    Chance(f64),
}

impl When {
    /// Whether the upgrade `number` is hit by the fault `index` of a plan with this
    /// seed. The same plan always says the same.
    #[must_use]
    pub fn hits(&self, seed: u64, index: usize, number: u64) -> bool {
        match self {
            Self::Every(every) => number.is_multiple_of(*every),
            Self::Upgrades(numbers) => numbers.contains(&number),
            Self::Chance(chance) => drawn(seed, index, number) < *chance,
        }
    }
}

/// A number from 0 to 1 (exclusive) that belongs to one upgrade and one fault of a plan.
#[must_use]
pub fn drawn(seed: u64, index: usize, number: u64) -> f64 {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};
    // Two odd constants (the golden ratio, and one of splitmix64's) keep neighbours apart.
    let fault = (index as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let upgrade = number.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    StdRng::seed_from_u64(seed ^ 0x6368_616f_735f_6b69 ^ fault ^ upgrade).random()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(when: &When, seed: u64, index: usize) -> Vec<u64> {
        (1..=1000).filter(|number| when.hits(seed, index, *number)).collect()
    }

    #[test]
    fn a_plan_says_beforehand_which_upgrades_are_hit() {
        assert_eq!(hit(&When::Every(400), 1, 0), [400, 800]);
        assert_eq!(hit(&When::Upgrades(vec![7, 3]), 1, 0), [3, 7]);
        let chance = When::Chance(0.25);
        assert_eq!(hit(&chance, 5, 0), hit(&chance, 5, 0));
        assert_ne!(hit(&chance, 5, 0), hit(&chance, 6, 0));
        assert_ne!(hit(&chance, 5, 0), hit(&chance, 5, 1));
        // Six standard deviations around the mean.
        assert!((168..=332).contains(&hit(&chance, 5, 0).len()));
        assert!(hit(&When::Chance(0.0), 5, 0).is_empty());
    }
}
