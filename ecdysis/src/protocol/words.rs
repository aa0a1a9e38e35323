//! What the two processes say to each other after the manifest.
//!
//! The predecessor says [`Word`]s, each a byte, on the manifest pipe. The
//! successor speaks on the ready pipe. The published crate's two bytes come
//! first, which is all that the published crate reads. Ours follows them at once
//! with a letter and the version of what it understands, and then says, for as
//! long as the predecessor listens ([`Later`]):
//!
//! ```text
//! S       it was told to stop: its end will be no failure, and must not be undone
//! N u16   it does not want the descriptor with this place in the manifest
//! W u16   it wants that descriptor after all
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
    /// asked of us meanwhile.
    Settled(Then),
}

/// What was asked of the predecessor when it could not do it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Nothing.
    Serve,
    /// Another upgrade.
    Upgrade,
    /// A full stop.
    Stop,
    /// A partial stop.
    PartialStop,
}

impl Word {
    /// Every word, and the byte that it is on the wire.
    const ALL: [(Self, u8); 5] = [
        (Self::Go, b'G'),
        (Self::Settled(Then::Serve), b'S'),
        (Self::Settled(Then::Upgrade), b'U'),
        (Self::Settled(Then::Stop), b'F'),
        (Self::Settled(Then::PartialStop), b'P'),
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
    /// It was told to stop.
    Stopping,
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
            Self::Stopping => vec![b'S'],
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
