//! How a run must end, so that it shows what the scenario is there to show. It
//! is no part of the plan: who judges does not know what is hoped for.

use serde::{Deserialize, Serialize};

use crate::event::Harm;

/// How a run must end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expect {
    /// The verdict.
    pub verdict: Ending,
    /// Harm of at least one of these kinds must be found, if any is named.
    pub harm: Vec<Harm>,
    /// And harm of no other kind.
    pub only: bool,
    /// Each of these checks must have failed.
    pub checks: Vec<String>,
}

impl Expect {
    /// What is expected where nothing is said.
    #[must_use]
    pub fn pass() -> Self {
        Self { verdict: Ending::Pass, harm: Vec::new(), only: false, checks: Vec::new() }
    }
}

/// A verdict, as scenarios and results name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Everything held.
    Pass,
    /// Something did not.
    Fail,
    /// Too little was seen.
    Inconclusive,
}

impl Ending {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Pass, Self::Fail, Self::Inconclusive];

    /// Its name.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
        }
    }
}
