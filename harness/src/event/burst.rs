//! Many operations at once, aimed at an event.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::{Stamp, nanos};

/// An event of an upgrade that a burst can be aimed at.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Anchor {
    /// The upgrade is asked for.
    #[serde(rename = "trigger")]
    Trigger,
    /// The new process is there.
    #[serde(rename = "new.seen")]
    NewSeen,
    /// The first connection that the new process answers is begun: about when it is
    /// ready, and the old one stops accepting.
    #[serde(rename = "new.answered")]
    NewAnswered,
    /// The last connection that the old process answers is begun: it stops accepting.
    #[serde(rename = "old.stopped")]
    OldStopped,
    /// The old process is gone.
    #[serde(rename = "old.gone")]
    OldGone,
}

impl Anchor {
    /// Every event, in the order in which they happen.
    pub const ALL: [Self; 5] =
        [Self::Trigger, Self::NewSeen, Self::NewAnswered, Self::OldStopped, Self::OldGone];

    /// What scenarios and reports call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Trigger => "trigger",
            Self::NewSeen => "new.seen",
            Self::NewAnswered => "new.answered",
            Self::OldStopped => "old.stopped",
            Self::OldGone => "old.gone",
        }
    }
}

/// A burst, and how well it was aimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Burst {
    /// Index into [`super::Recording::populations`].
    pub population: u16,
    /// The [`super::Upgrade::number`] that it was aimed at.
    pub upgrade: u64,
    /// The event.
    pub anchor: Anchor,
    /// How long after the event it was wanted, ns; before it, if negative.
    pub offset_ns: i64,
    /// Operations.
    pub count: u64,
    /// When the event was expected.
    pub expected: Stamp,
    /// When it happened; `None`: it was not seen to.
    pub happened: Option<Stamp>,
}

impl Burst {
    /// How much later than the event the aim was, ns; earlier, if negative.
    #[must_use]
    pub fn off_ns(&self) -> Option<i64> {
        let happened = self.happened?;
        let off = |late: Stamp, early: Stamp| i64::try_from(nanos(late - early)).ok();
        if self.expected >= happened {
            off(self.expected, happened)
        } else {
            off(happened, self.expected).map(|early| -early)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aim_can_be_late_early_or_unknown() {
        let burst = |happened: Option<u64>| Burst {
            population: 0,
            upgrade: 1,
            anchor: Anchor::NewSeen,
            offset_ns: -1,
            count: 64,
            expected: Stamp(100),
            happened: happened.map(Stamp),
        };
        assert_eq!(burst(Some(90)).off_ns(), Some(10));
        assert_eq!(burst(Some(130)).off_ns(), Some(-30));
        assert_eq!(burst(None).off_ns(), None);
    }
}
