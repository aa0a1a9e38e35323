//! Whether something grows over time, told from points that scatter.

/// More pairs than those of so many points do not make the slope better.
const MOST_POINTS: usize = 1000;

/// The slope of Theil and Sen: the median of the slopes of all pairs of points. A
/// third of the points may be anything without moving it far. `None`: there are no two
/// points of different place.
#[must_use]
pub fn slope(points: &[(f64, f64)]) -> Option<f64> {
    // Evenly thinned, so that hours of points take no minutes.
    let step = points.len().div_ceil(MOST_POINTS).max(1);
    let points: Vec<_> = points.iter().step_by(step).collect();
    let mut slopes = Vec::new();
    for (place, (x, y)) in points.iter().enumerate() {
        let later = points.iter().skip(place + 1);
        let pairs = later.filter(|(other, _)| other != x);
        slopes.extend(pairs.map(|(other, value)| (value - y) / (other - x)));
    }
    slopes.sort_unstable_by(f64::total_cmp);
    let (low, high) = (slopes.len().saturating_sub(1) / 2, slopes.len() / 2);
    Some(f64::midpoint(*slopes.get(low)?, *slopes.get(high)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_slope_of_a_line_is_found_whatever_a_few_points_say() {
        let line = |x: i32| (f64::from(x), 3.0 + 0.5 * f64::from(x));
        let mut points: Vec<_> = (0..40).map(line).collect();
        assert_eq!(slope(&points), Some(0.5));
        for point in points.iter_mut().step_by(5) {
            point.1 += 1e6;
        }
        let found = slope(&points).unwrap();
        assert!((found - 0.5).abs() < 0.2, "{found}");
        let many: Vec<_> = (0..100_000).map(line).collect();
        assert_eq!(slope(&many), Some(0.5));
    }

    #[test]
    fn without_two_places_there_is_no_slope() {
        assert_eq!(slope(&[]), None);
        assert_eq!(slope(&[(1.0, 2.0)]), None);
        assert_eq!(slope(&[(1.0, 2.0), (1.0, 3.0)]), None);
        assert_eq!(slope(&[(1.0, 2.0), (2.0, 3.0)]), Some(1.0));
    }

    proptest! {
        #[test]
        fn what_only_scatters_has_no_slope_to_speak_of(seed in 0_u64..1000) {
            // A linear congruence scatters well enough.
            let mut state = seed;
            let points: Vec<_> = (0..200).map(|x| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (f64::from(x), f64::from(u32::try_from(state >> 40).unwrap() % 1000))
            }).collect();
            let found = slope(&points).unwrap();
            prop_assert!(found.abs() < 2.0, "{}", found);
        }
    }
}
