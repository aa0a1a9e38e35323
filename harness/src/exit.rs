//! Every exit code of the harness: one meaning each.

use std::process::ExitCode;

use serde::{Deserialize, Serialize};

/// How the harness ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum Exit {
    /// 0: every check passed.
    Pass,
    /// 1: a client was harmed, a ledger does not balance, or another check failed.
    Fail,
    /// 2: the command line or the scenario cannot be meant.
    Usage,
    /// 3: nothing was disproved, but nothing was proved either: the load was too
    /// weak, a fault was not delivered, or the observer was at fault.
    Inconclusive,
    /// 4: this machine lacks something that the run requires.
    Environment,
    /// 5: the harness itself failed.
    Internal,
    /// 6: the server under test could not be built or started.
    TargetStart,
    /// 128 + signal: interrupted by this signal; the report covers what was seen.
    Interrupted(u8),
}

impl Exit {
    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Fail => 1,
            Self::Usage => 2,
            Self::Inconclusive => 3,
            Self::Environment => 4,
            Self::Internal => 5,
            Self::TargetStart => 6,
            Self::Interrupted(signal) => 128_u8.saturating_add(signal),
        }
    }

    /// What a process of the harness that ended with this code meant. A code that
    /// no command gives is that of a harness that failed.
    #[must_use]
    pub fn from_code(code: i32) -> Self {
        let known = u8::try_from(code).ok().and_then(|code| Self::try_from(code).ok());
        known.unwrap_or(Self::Internal)
    }

    /// How several runs end together: as the gravest of them. A harness that
    /// failed can be believed in nothing; then a proven harm outranks all that
    /// was not proved, whatever the reason.
    #[must_use]
    pub fn gravest(all: impl IntoIterator<Item = Self>) -> Self {
        all.into_iter().max_by_key(|exit| exit.gravity()).unwrap_or(Self::Pass)
    }

    fn gravity(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Inconclusive => 1,
            Self::Usage => 2,
            Self::Environment => 3,
            Self::TargetStart => 4,
            Self::Interrupted(_) => 5,
            Self::Fail => 6,
            Self::Internal => 7,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl From<Exit> for u8 {
    fn from(exit: Exit) -> Self {
        exit.code()
    }
}

impl TryFrom<u8> for Exit {
    type Error = String;

    fn try_from(code: u8) -> Result<Self, String> {
        match code {
            0 => Ok(Self::Pass),
            1 => Ok(Self::Fail),
            2 => Ok(Self::Usage),
            3 => Ok(Self::Inconclusive),
            4 => Ok(Self::Environment),
            5 => Ok(Self::Internal),
            6 => Ok(Self::TargetStart),
            129..=u8::MAX => Ok(Self::Interrupted(code - 128)),
            7..=128 => Err(format!("{code} is no exit code of the harness; 0 to 6 and 129 up are")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_that_scripts_rely_on() {
        let all = [
            Exit::Pass,
            Exit::Fail,
            Exit::Usage,
            Exit::Inconclusive,
            Exit::Environment,
            Exit::Internal,
            Exit::TargetStart,
            Exit::Interrupted(2),
            Exit::Interrupted(15),
        ];
        assert_eq!(all.map(Exit::code), [0, 1, 2, 3, 4, 5, 6, 130, 143]);
        assert_eq!(all.map(|exit| Exit::try_from(exit.code()).unwrap()), all);
        assert!(Exit::try_from(7).is_err());
        assert_eq!(all.map(|exit| Exit::from_code(exit.code().into())), all);
        assert_eq!(Exit::from_code(101), Exit::Internal);
    }

    #[test]
    fn a_proven_harm_is_never_hidden() {
        use Exit::{Fail, Inconclusive, Internal, Interrupted, Pass, TargetStart, Usage};
        for (all, gravest) in [
            (&[][..], Pass),
            (&[Pass, Inconclusive], Inconclusive),
            (&[Inconclusive, Fail, Pass], Fail),
            (&[Fail, Interrupted(2), TargetStart, Usage], Fail),
            (&[Inconclusive, Usage], Usage),
            (&[Fail, Internal], Internal),
        ] {
            assert_eq!(Exit::gravest(all.iter().copied()), gravest);
        }
    }
}
