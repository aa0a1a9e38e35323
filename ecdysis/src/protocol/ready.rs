//! Understanding what the successor says on the ready pipe.

use super::leaving::Seen;
use super::words::{Later, READY, READY_OURS};
use crate::manifest::Dialect;

/// Understands the ready pipe, however its bytes are cut.
#[derive(Debug, Default)]
pub(crate) struct Listener {
    unread: Vec<u8>,
    /// Whose protocol it speaks, once it is ready.
    ready: Option<Dialect>,
    /// It has paused after what the published crate says.
    paused: bool,
}

impl Listener {
    /// More bytes have come.
    pub(crate) fn hear(&mut self, bytes: &[u8]) -> Vec<Seen> {
        self.unread.extend(bytes);
        let mut seen = Vec::new();
        if self.ready.is_none() {
            if !READY_OURS[..3].starts_with(&self.unread[..self.unread.len().min(3)]) {
                // What makes it garbage is kept: nothing after it makes sense.
                self.unread.truncate(3);
                return vec![Seen::Garbage];
            }
            if self.unread.len() < READY_OURS.len() {
                return seen;
            }
            // A later version may say more; it must begin like this one.
            self.unread.drain(..READY_OURS.len());
            self.ready = Some(Dialect::Ours);
            seen.push(Seen::Ready(Dialect::Ours));
        }
        while let Some((later, length)) = self.later() {
            seen.extend(later);
            self.unread.drain(..length);
        }
        seen
    }

    /// No more has come for now. Once, if what has come is all that the published
    /// crate says: ours goes on at once, and in one piece.
    pub(crate) fn pause(&mut self) -> Option<Seen> {
        let said = self.ready.is_none() && self.unread == READY;
        (said && !std::mem::replace(&mut self.paused, true)).then_some(Seen::Paused)
    }

    /// No more will come.
    pub(crate) fn end(&mut self) -> Vec<Seen> {
        let unread = std::mem::take(&mut self.unread);
        match self.ready {
            Some(_) => vec![Seen::Closed],
            None if unread == READY => {
                self.ready = Some(Dialect::Published);
                vec![Seen::Ready(Dialect::Published)]
            }
            None if unread.is_empty() => vec![Seen::Closed],
            None => vec![Seen::Garbage],
        }
    }

    /// The next word and its length. A letter we do not know is a later
    /// version's, and is passed over.
    fn later(&self) -> Option<(Option<Seen>, usize)> {
        Some(match *self.unread.first()? {
            b'S' => (Some(Seen::Later(Later::Stopping)), 1),
            letter @ (b'N' | b'W') => {
                let place = u16::from_le_bytes([*self.unread.get(1)?, *self.unread.get(2)?]);
                (Some(Seen::Later(Later::Wants { place, wanted: letter == b'W' })), 3)
            }
            _ => (None, 1),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(bytes: &[u8]) -> Vec<Seen> {
        let mut listener = Listener::default();
        let mut seen = listener.hear(bytes);
        seen.extend(listener.end());
        seen
    }

    #[test]
    fn ready_of_either_dialect_is_told_apart() {
        assert_eq!(whole(b"OK"), [Seen::Ready(Dialect::Published)]);
        assert_eq!(whole(READY_OURS), [Seen::Ready(Dialect::Ours), Seen::Closed]);
        assert_eq!(whole(b"OKe\x02"), [Seen::Ready(Dialect::Ours), Seen::Closed]);
        assert_eq!(whole(b""), [Seen::Closed]);
        assert_eq!(whole(b"O"), [Seen::Garbage]);
        assert_eq!(whole(b"OKe"), [Seen::Garbage]);
        assert_eq!(Listener::default().hear(b"KO"), [Seen::Garbage]);
        assert_eq!(Listener::default().hear(b"OKx"), [Seen::Garbage]);
        assert_eq!(Listener::default().hear(b"OK"), []);
    }

    #[test]
    fn garbage_stays_garbage_whatever_follows() {
        let mut listener = Listener::default();
        for bytes in [b"x".as_slice(), READY_OURS, b"S"] {
            assert_eq!(listener.hear(bytes), [Seen::Garbage]);
        }
        assert_eq!(listener.end(), [Seen::Garbage]);
    }

    #[test]
    fn a_pause_after_the_published_crates_word_is_seen_once_and_settles_nothing() {
        let mut listener = Listener::default();
        assert_eq!(listener.pause(), None);
        assert_eq!((listener.hear(b"O"), listener.pause()), (vec![], None));
        assert_eq!((listener.hear(b"K"), listener.pause()), (vec![], Some(Seen::Paused)));
        assert_eq!(listener.pause(), None);
        assert_eq!(listener.hear(b"e\x01"), [Seen::Ready(Dialect::Ours)]);
        assert_eq!(listener.pause(), None);
    }

    fn later() -> impl Strategy<Value = Later> {
        prop_oneof![
            Just(Later::Stopping),
            any::<(u16, bool)>().prop_map(|(place, wanted)| Later::Wants { place, wanted }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_said_is_seen_however_it_is_cut(
            said in prop::collection::vec(later(), 0..20), cut in 1_usize..9,
        ) {
            let mut bytes = READY_OURS.to_vec();
            bytes.extend(said.iter().flat_map(|later| later.bytes()));
            let mut listener = Listener::default();
            let seen: Vec<_> = bytes.chunks(cut).flat_map(|chunk| listener.hear(chunk)).collect();
            let ready = Seen::Ready(Dialect::Ours);
            let expected: Vec<_> =
                [ready].into_iter().chain(said.into_iter().map(Seen::Later)).collect();
            prop_assert_eq!(seen, expected);
        }

        #[test]
        fn any_bytes_are_understood_or_refused(bytes: Vec<u8>, cut in 1_usize..9) {
            let mut listener = Listener::default();
            let mut seen: Vec<_> = bytes.chunks(cut).flat_map(|chunk| listener.hear(chunk)).collect();
            seen.extend(listener.end());
            prop_assert!(!seen.is_empty(), "at the end there is nothing to wait for");
            let ready = seen.iter().any(|seen| matches!(seen, Seen::Ready(_)));
            prop_assert!(!ready || bytes.starts_with(READY));
        }
    }
}
