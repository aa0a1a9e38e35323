//! Numbers as a person reads them.

/// A span: three digits or so, in the unit that needs no zeros.
pub(super) fn span(ns: u64) -> String {
    let ms = ns as f64 / 1e6;
    // The bounds are where a value would be rounded up to the next form.
    if ns < 9_995 {
        format!("{:.1}µs", ns as f64 / 1e3)
    } else if ms < 9.995 {
        format!("{ms:.2}ms")
    } else if ms < 999.5 {
        format!("{ms:.0}ms")
    } else if ms < 59_995.0 {
        format!("{:.2}s", ms / 1e3)
    } else {
        format!("{:.1}s", ms / 1e3)
    }
}

/// A span that may not have been seen.
pub(super) fn maybe_span(ns: Option<u64>) -> String {
    ns.map_or_else(|| "-".to_owned(), span)
}

/// When something was wanted, told from an event: `1.00ms before`, `2.00ms after`, `at`.
pub(super) fn offset(ns: i64) -> String {
    match ns {
        0 => "at".to_owned(),
        1.. => format!("{} after", span(ns.unsigned_abs())),
        _ => format!("{} before", span(ns.unsigned_abs())),
    }
}

/// A count, its thousands apart.
pub(super) fn count(number: impl TryInto<i128>) -> String {
    let Ok(number) = number.try_into() else { return "?".to_owned() };
    let digits = number.unsigned_abs().to_string();
    let mut text = if number < 0 { "-".to_owned() } else { String::new() };
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// Operations per second.
pub(super) fn rate(per_second: f64) -> String {
    if per_second < 999.5 {
        format!("{per_second:.0}/s")
    } else {
        format!("{:.1}k/s", per_second / 1e3)
    }
}

/// A share of a whole.
pub(super) fn share(share: f64) -> String {
    if share < 1e-3 { format!("{share:.1e}") } else { format!("{:.1} %", share * 100.0) }
}

/// A number of things: `1 upgrade`, `2 upgrades`.
pub(super) fn things(number: usize, thing: &str) -> String {
    format!("{} {thing}{}", count(number), if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let spans = [
            0,
            3_140,
            9_995,
            214_000,
            9_994_000,
            9_995_000,
            999_400_000,
            999_600_000,
            62_400_000_000,
        ];
        let texts =
            ["0.0µs", "3.1µs", "0.01ms", "0.21ms", "9.99ms", "10ms", "999ms", "1.00s", "62.4s"];
        assert_eq!(spans.map(span), texts);
        assert_eq!([0, 2_000_000, -1_000_000].map(offset), ["at", "2.00ms after", "1.00ms before"]);
        assert_eq!(count(612_881_u64), "612 881");
        assert_eq!([0_i64, 999, -1000, 1_234_567].map(count), ["0", "999", "-1 000", "1 234 567"]);
        assert_eq!([64.2, 999.6, 7790.1].map(rate), ["64/s", "1.0k/s", "7.8k/s"]);
        assert_eq!([4.9e-6, 0.0247, 1.0].map(share), ["4.9e-6", "2.5 %", "100.0 %"]);
        assert_eq!([things(1, "fault"), things(2, "fault")], ["1 fault", "2 faults"]);
    }
}
