//! How often a race is run.

/// Three times; `ECDYSIS_TEST_ROUNDS=20` for those who doubt.
pub(crate) fn rounds() -> u32 {
    std::env::var("ECDYSIS_TEST_ROUNDS").map_or(3, |rounds| rounds.parse().unwrap())
}
