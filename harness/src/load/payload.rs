//! What clients send, and what it means if something else comes back.

use crate::event::Harm;

/// So many bytes must agree before a place in the stream counts as recognised.
/// Four random bytes agree by chance once in four billion times.
const RECOGNISED: usize = 4;

/// So much is kept from the first wrong byte on, to recognise what it is.
const KEPT: usize = 2 * RECOGNISED;

/// The bytes that one operation sends, made as they are needed. No part of them
/// repeats, within an operation or between two, so that a byte in the wrong place
/// is recognised.
#[derive(Clone, Debug)]
pub(super) struct Source {
    state: u64,
    /// The word that is being given out.
    word: [u8; 8],
    /// How much of it is left.
    left: usize,
}

impl Source {
    /// What the operation `id` sends.
    pub(super) fn new(id: u64) -> Self {
        Self { state: mix(id), word: [0; 8], left: 0 }
    }
}

impl Iterator for Source {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        if self.left == 0 {
            self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            (self.word, self.left) = (mix(self.state).to_le_bytes(), self.word.len());
        }
        let byte = self.word[self.word.len() - self.left];
        self.left -= 1;
        Some(byte)
    }
}

/// The first `size` bytes that the operation `id` sends.
pub(super) fn bytes(id: u64, size: usize) -> Vec<u8> {
    Source::new(id).take(size).collect()
}

/// The finalizer of SplitMix64.
fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// What comes back, compared with what was sent while it comes. It keeps nothing
/// of what is right, so a stream may be as long as it likes.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    id: u64,
    size: usize,
    expected: Source,
    /// Bytes that were as they should be.
    same: usize,
    /// What came from the first wrong byte on, as far as it is kept.
    wrong: Vec<u8>,
    /// Bytes that came, kept or not.
    came: usize,
}

impl Reply {
    /// The reply to an operation that sends so much.
    pub(super) fn to(id: u64, size: usize) -> Self {
        Self { id, size, expected: Source::new(id), same: 0, wrong: Vec::new(), came: 0 }
    }

    /// Where nothing is to come.
    pub(super) fn none() -> Self {
        Self::to(0, 0)
    }

    /// How much is still to come.
    pub(super) fn left(&self) -> usize {
        self.size.saturating_sub(self.came)
    }

    /// Takes what came.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.came += bytes.len();
        let mut rest = bytes;
        if self.wrong.is_empty() {
            let due = rest.get(..self.size - self.same).unwrap_or(rest);
            let same = due.iter().zip(&mut self.expected).take_while(|(is, want)| *is == want);
            let same = same.count();
            self.same += same;
            rest = rest.get(same..).unwrap_or_default();
        }
        let room = KEPT - self.wrong.len();
        self.wrong.extend_from_slice(rest.get(..room).unwrap_or(rest));
    }

    /// What is wrong with it so far. That it is short is not wrong by itself: the
    /// way in which the stream ended says what that means.
    pub(super) fn harm(&self) -> Option<Harm> {
        let rest = self.wrong.as_slice();
        if rest.is_empty() {
            return None;
        }
        if self.same == self.size {
            return Some(Harm::DupBytes);
        }
        let sample = rest.get(..2 * RECOGNISED).unwrap_or(rest);
        if sample.len() < RECOGNISED {
            // Too little to recognise; but if there is too much in all, some came twice.
            return Some(if self.came > self.size { Harm::DupBytes } else { Harm::Corrupt });
        }
        let sent = bytes(self.id, self.size);
        match sent.windows(sample.len()).position(|window| window == sample) {
            Some(place) if place > self.same => Some(Harm::LostBytes),
            Some(_) => Some(Harm::DupBytes),
            None => Some(Harm::Corrupt),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// However it is cut into pieces, it is judged the same.
    fn compare(id: u64, size: usize, got: &[u8]) -> Option<Harm> {
        let judged = [1, 3, 8, 1000].map(|piece| {
            let mut reply = Reply::to(id, size);
            got.chunks(piece).for_each(|piece| reply.take(piece));
            assert_eq!(reply.left(), size.saturating_sub(got.len()));
            reply.harm()
        });
        assert!(judged.iter().all(|harm| *harm == judged[0]), "{judged:?}");
        judged[0]
    }

    #[test]
    fn operations_send_different_bytes() {
        assert_eq!(bytes(7, 33), bytes(7, 33));
        assert_ne!(bytes(7, 33), bytes(8, 33));
        assert_eq!(bytes(7, 33)[..10], bytes(7, 10));
        assert!(bytes(7, 0).is_empty());
    }

    proptest! {
        #[test]
        fn a_prefix_is_not_wrong(id: u64, size in 0_usize..300, cut in 0_usize..300) {
            let sent = bytes(id, size);
            prop_assert_eq!(compare(id, size, &sent[..cut.min(size)]), None);
        }

        #[test]
        fn a_hole_is_lost(id: u64, at in 0_usize..50, len in 1_usize..40) {
            let sent = bytes(id, 100);
            let got = [&sent[..at], &sent[at + len..]].concat();
            prop_assert_eq!(compare(id, 100, &got), Some(Harm::LostBytes));
        }

        #[test]
        fn what_comes_twice_is_duplicate(id: u64, at in 8_usize..100, len in 1_usize..8) {
            let sent = bytes(id, 100);
            let got = [&sent[..at], &sent[at - len..]].concat();
            prop_assert_eq!(compare(id, 100, &got), Some(Harm::DupBytes));
        }

        #[test]
        fn a_changed_byte_is_corrupt(id: u64, at in 0_usize..100, flip in 1_u8..) {
            let sent = bytes(id, 100);
            let mut got = sent.clone();
            got[at] ^= flip;
            prop_assert_eq!(compare(id, 100, &got), Some(Harm::Corrupt));
        }
    }

    #[test]
    fn more_than_was_sent_is_duplicate() {
        let sent = bytes(1, 10);
        assert_eq!(compare(1, 10, &[&sent[..], b"x"].concat()), Some(Harm::DupBytes));
    }
}
