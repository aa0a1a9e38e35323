//! The faults of a plan: what each does, which upgrades it hits, and what is to
//! come of it.

use serde::{Deserialize, Serialize};

use crate::event::{Expected, Spared, Upshot};

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
}

impl FaultKind {
    /// Every kind, as it is when a scenario does not say more.
    pub const ALL: [Self; 1] = [Self::KillBeforeReady];

    /// The kind that a scenario calls by this name, or by the catalogue's id.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == word || kind.id() == word)
    }

    /// What scenarios call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::KillBeforeReady => "kill-before-ready",
        }
    }

    /// The catalogue's id.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::KillBeforeReady => "C04",
        }
    }

    /// The right answer, when a scenario does not say another.
    #[must_use]
    pub fn usual(self) -> Expected {
        let (upgrade, clients) = match self {
            Self::KillBeforeReady => (Upshot::Fails, Spared::All),
        };
        Expected { upgrade, clients, told: None }
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

    #[test]
    fn kinds_have_a_name_and_an_id() {
        for kind in FaultKind::ALL {
            assert_eq!(FaultKind::from_word(kind.name()), Some(kind));
            assert_eq!(FaultKind::from_word(kind.id()), Some(kind));
        }
        assert_eq!(FaultKind::from_word("C99"), None);
    }
}
