//! What the two processes say to each other after the manifest.
//!
//! The predecessor says [`Word`]s, each a byte, on the manifest pipe. The
//! successor speaks on the ready pipe. The published crate's two bytes come
//! first, which is all that the published crate reads. Ours follows them at once
//! with a letter and the version of what it understands, and then says, for as
//! long as the predecessor listens ([`Later`]):
//!
//! ```text
//! P       the stop that it will speak of is a partial one: it may live for long yet
//! S       it was told to stop: its end will be no failure, and must not be undone
//! N u16   it does not want the descriptor with this place in the manifest
//! W u16   it wants that descriptor after all
//! D       it was told to stop before it heard *go*, and accepts nothing
//! ```
//!
//! It closes the pipe when it has heard that it is settled. One that runs the
//! published crate is known by nothing following its two bytes: not by the end of
//! the pipe, which a helper of it may hold.

/// What the predecessor writes on the manifest pipe after the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// Accept: we have stopped.
    Go,
    /// We let go of the sockets. You may be upgraded yourself now; and this was
    /// asked of us meanwhile, or you have told us of it: a full stop is said back, so
    /// that both know who ends last.
    Settled(Then),
    /// We serve on, and you are none of the service. Killing it says the same to a
    /// process that we have started, and nothing to one that has forked since.
    GivenUp,
}

/// What was asked of the predecessor when it could not do it any more. What
/// outweighs the rest comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Then {
    /// Nothing.
    Serve,
    /// Another upgrade.
    Upgrade,
    /// A partial stop.
    PartialStop,
    /// A full stop.
    Stop,
}

impl Word {
    /// Every word, and the byte that it is on the wire.
    const ALL: [(Self, u8); 6] = [
        (Self::Go, b'G'),
        (Self::Settled(Then::Serve), b'S'),
        (Self::Settled(Then::Upgrade), b'U'),
        (Self::Settled(Then::Stop), b'F'),
        (Self::Settled(Then::PartialStop), b'P'),
        (Self::GivenUp, b'X'),
    ];

    /// On the wire each word is a byte.
    pub(crate) fn byte(self) -> u8 {
        Self::ALL.iter().find(|(word, _)| *word == self).map_or(b'?', |(_, byte)| *byte)
    }

    /// The word that this byte is. Others are for later versions to say to
    /// later versions, and are passed over.
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == byte).map(|(word, _)| *word)
    }
}

/// What the published crate says.
pub(crate) const READY: &[u8; 2] = b"OK";

/// What ours says.
pub(crate) const READY_OURS: &[u8; 4] = b"OKe\x01";

/// A word of the successor after it was ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Later {
    /// The stop that it will speak of is a partial one.
    Partly,
    /// It was told to stop.
    Stopping,
    /// It was told to stop before it heard *go*, and accepts nothing.
    Declined,
    /// Whether it wants the descriptor in this place of the manifest.
    Wants {
        /// The place, from 0.
        place: u16,
        /// Whether it does.
        wanted: bool,
    },
}

impl Later {
    /// The bytes that say it.
    pub(crate) fn bytes(self) -> Vec<u8> {
        match self {
            Self::Partly => vec![b'P'],
            Self::Stopping => vec![b'S'],
            Self::Declined => vec![b'D'],
            Self::Wants { place, wanted } => {
                let [low, high] = place.to_le_bytes();
                vec![if wanted { b'W' } else { b'N' }, low, high]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_their_bytes_say() {
        for byte in 0..=u8::MAX {
            if let Some(word) = Word::from_byte(byte) {
                assert_eq!(word.byte(), byte);
            }
        }
        assert_eq!(
            Word::ALL.map(|(word, _)| Word::from_byte(word.byte())),
            Word::ALL.map(|(word, _)| Some(word))
        );
        assert_eq!(Word::from_byte(b'?'), None);
    }
}
