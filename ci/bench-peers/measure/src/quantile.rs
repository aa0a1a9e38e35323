//! Nearest-rank quantiles, of spans and of ratios.

use std::time::Duration;

pub(crate) fn median(spans: impl IntoIterator<Item = Duration>) -> Duration {
    quantile(spans, 50)
}

/// The smallest that at least `percent` of the spans do not exceed.
pub(crate) fn quantile(spans: impl IntoIterator<Item = Duration>, percent: usize) -> Duration {
    let mut spans: Vec<_> = spans.into_iter().collect();
    spans.sort_unstable();
    spans[rank(spans.len(), percent)]
}

/// The smallest, the median and the largest.
pub(crate) fn spread(numbers: impl IntoIterator<Item = f64>) -> [f64; 3] {
    let mut numbers: Vec<_> = numbers.into_iter().collect();
    numbers.sort_unstable_by(f64::total_cmp);
    [0, 50, 100].map(|percent| numbers[rank(numbers.len(), percent)])
}

fn rank(count: usize, percent: usize) -> usize {
    (count * percent).div_ceil(100).max(1) - 1
}

pub(crate) fn milliseconds(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_nearest_rank() {
        let spans: Vec<_> = (1..=20).rev().map(Duration::from_millis).collect();
        assert_eq!(median(spans.clone()), Duration::from_millis(10));
        assert_eq!(quantile(spans.clone(), 90), Duration::from_millis(18));
        assert_eq!(quantile([spans[0]], 90), Duration::from_millis(20));
        assert_eq!(spread([3.0, 1.0, 2.0]).map(f64::to_bits), [1.0, 2.0, 3.0].map(f64::to_bits));
    }
}
