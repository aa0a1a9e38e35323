//! What so few, or none, of so many says about the probability behind it: the exact
//! limits of Clopper and Pearson.

/// Halvings of an interval: beyond these a double does not tell its ends apart.
const STEPS: usize = 60;

/// The largest probability at which seeing `most` or fewer of `of` still has the
/// probability `risk`. Of none of `n` it is the solution of (1 − p)^n = `risk`.
#[must_use]
pub fn upper(most: u64, of: u64, risk: f64) -> f64 {
    if most >= of {
        return 1.0;
    }
    if most == 0 {
        return 1.0 - risk.powf(1.0 / lossy(of));
    }
    let (mut low, mut high) = (lossy(most) / lossy(of), 1.0);
    for _ in 0..STEPS {
        let middle = f64::midpoint(low, high);
        if at_most(most, lossy(of), middle) > risk {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// The smallest probability at which seeing `least` or more of `of` still has the
/// probability `risk`: what [`upper`] says of the others.
#[must_use]
pub fn lower(least: u64, of: u64, risk: f64) -> f64 {
    1.0 - upper(of.saturating_sub(least), of, risk)
}

/// The probability of `most` or fewer of `of`, each with this probability. In
/// logarithms, because the terms are smaller than a double can be.
fn at_most(most: u64, of: f64, each: f64) -> f64 {
    let odds = each.ln() - (-each).ln_1p();
    let mut term = of * (-each).ln_1p();
    let mut sum = term.exp();
    for count in 1..=most {
        let count = lossy(count);
        term += ((of - count + 1.0) / count).ln() + odds;
        sum += term.exp();
    }
    sum
}

/// More than four thousand million of anything is as good as that many.
fn lossy(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: f64, expected: f64, slack: f64) {
        assert!((got - expected).abs() < slack, "{got}, and not {expected}");
    }

    // The values are those of any table of Clopper and Pearson's limits.
    #[test]
    fn the_limits_are_those_of_the_tables() {
        for (seen, of, low, high) in [
            (0, 10, 0.0, 0.308_5),
            (1, 10, 0.002_5, 0.445_0),
            (5, 10, 0.187_1, 0.812_9),
            (9, 10, 0.555_0, 0.997_5),
            (10, 10, 0.691_5, 1.0),
            (3, 5, 0.146_6, 0.947_3),
            (20, 100, 0.126_7, 0.291_8),
        ] {
            close(lower(seen, of, 0.025), low, 1e-4);
            close(upper(seen, of, 0.025), high, 1e-4);
        }
        close(upper(0, 0, 0.05), 1.0, 1e-9);
        close(lower(0, 0, 0.05), 0.0, 1e-9);
    }

    #[test]
    fn none_of_many_is_about_three_over_the_number() {
        close(upper(0, 1, 0.05), 0.95, 1e-9);
        close(upper(0, 500, 0.05), 0.005_973_5, 1e-6);
        close(upper(0, 671_648, 0.05), 4.46e-6, 1e-8);
        let many = upper(3000, 600_000, 0.05);
        assert!((0.005_1..0.005_2).contains(&many), "{many}");
    }
}
