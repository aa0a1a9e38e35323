//! What clients send, and what it means if something else comes back.

use crate::event::Harm;

/// So many bytes must agree before a place in the stream counts as recognised.
/// Four random bytes agree by chance once in four billion times.
const RECOGNISED: usize = 4;

/// The bytes that the operation `id` sends. No part of them repeats, within an
/// operation or between two, so that a byte in the wrong place is recognised.
pub(super) fn bytes(id: u64, size: usize) -> Vec<u8> {
    let mut state = mix(id);
    let mut bytes = Vec::with_capacity(size.next_multiple_of(8));
    while bytes.len() < size {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        bytes.extend_from_slice(&mix(state).to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// The finalizer of SplitMix64.
fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// What is wrong with `got`, the beginning of a stream that should have been
/// `expected` and nothing more. That it is short is not wrong by itself: the
/// way in which the stream ended says what that means.
pub(super) fn compare(expected: &[u8], got: &[u8]) -> Option<Harm> {
    let same = expected.iter().zip(got).take_while(|(want, is)| want == is).count();
    if same == got.len() {
        return None;
    }
    if same == expected.len() {
        return Some(Harm::DupBytes);
    }
    let rest = got.get(same..).unwrap_or_default();
    let sample = rest.get(..2 * RECOGNISED).unwrap_or(rest);
    if sample.len() < RECOGNISED {
        // Too little to recognise; but if there is too much in all, some came twice.
        let harm = if got.len() > expected.len() { Harm::DupBytes } else { Harm::Corrupt };
        return Some(harm);
    }
    match expected.windows(sample.len()).position(|window| window == sample) {
        Some(place) if place > same => Some(Harm::LostBytes),
        Some(_) => Some(Harm::DupBytes),
        None => Some(Harm::Corrupt),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
            prop_assert_eq!(compare(&sent, &sent[..cut.min(size)]), None);
        }

        #[test]
        fn a_hole_is_lost(id: u64, at in 0_usize..50, len in 1_usize..40) {
            let sent = bytes(id, 100);
            let got = [&sent[..at], &sent[at + len..]].concat();
            prop_assert_eq!(compare(&sent, &got), Some(Harm::LostBytes));
        }

        #[test]
        fn what_comes_twice_is_duplicate(id: u64, at in 8_usize..100, len in 1_usize..8) {
            let sent = bytes(id, 100);
            let got = [&sent[..at], &sent[at - len..]].concat();
            prop_assert_eq!(compare(&sent, &got), Some(Harm::DupBytes));
        }

        #[test]
        fn a_changed_byte_is_corrupt(id: u64, at in 0_usize..100, flip in 1_u8..) {
            let sent = bytes(id, 100);
            let mut got = sent.clone();
            got[at] ^= flip;
            prop_assert_eq!(compare(&sent, &got), Some(Harm::Corrupt));
        }
    }

    #[test]
    fn more_than_was_sent_is_duplicate() {
        let sent = bytes(1, 10);
        assert_eq!(compare(&sent, &[&sent[..], b"x"].concat()), Some(Harm::DupBytes));
    }
}
