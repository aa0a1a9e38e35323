//! Steps of a logarithmic scale: ten to a decade, each about a quarter longer
//! than the one before.

const MARKS: [u64; 10] = [100, 126, 158, 200, 251, 316, 398, 501, 631, 794];

/// The longest step that is not longer than `ns`; the first is 100 ns.
pub(super) fn floor(ns: u64) -> u64 {
    let ns = ns.max(MARKS[0]);
    let unit = 10_u64.pow(ns.ilog10() - 2);
    let last = MARKS.iter().rev().find(|mark| **mark <= ns / unit);
    last.map_or(MARKS[0], |mark| mark * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_span_lies_in_one_step() {
        for (ns, low) in [
            (0, 100),
            (125, 100),
            (126, 126),
            (999, 794),
            (1000, 1000),
            (1_040_000_000, 1_000_000_000),
        ] {
            assert_eq!(floor(ns), low, "{ns}");
        }
        assert!(floor(u64::MAX) > u64::MAX / 2);
    }
}
