//! The sources of chance. Each use has one of its own, named after what it is for,
//! so that one use more does not shift what the others draw.

use rand::SeedableRng;
use rand::rngs::StdRng;

/// The source of chance of one use (`purpose`) by one `owner`: a population, by its
/// name and not by its place in the plan.
#[must_use]
pub fn stream(seed: u64, owner: &str, purpose: &str) -> StdRng {
    let mut bytes = [0; 32];
    let words = [seed, fnv(owner), fnv(purpose)];
    for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    StdRng::from_seed(bytes)
}

/// FNV-1a: a hash that stays the same over versions of the standard library.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    #[test]
    fn each_name_has_a_chance_of_its_own_that_does_not_change() {
        let draw = |seed, owner, purpose| stream(seed, owner, purpose).random::<u64>();
        assert_eq!(draw(1, "a", "b"), draw(1, "a", "b"));
        let all = [draw(1, "a", "b"), draw(2, "a", "b"), draw(1, "b", "b"), draw(1, "a", "a")];
        assert!((1..all.len()).all(|at| !all[..at].contains(&all[at])), "{all:?}");
    }
}
