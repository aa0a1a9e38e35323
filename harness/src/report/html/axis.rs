//! Where a value lies on an axis, from 0 to 1, and which values are worth a mark.

/// An axis on which equal distances are equal differences.
#[derive(Clone, Copy, Debug)]
pub(super) struct Linear {
    from: f64,
    to: f64,
}

impl Linear {
    /// An axis from `from` to `to`, or a little further if there is nothing between.
    pub(super) fn new(from: f64, to: f64) -> Self {
        Self { from, to: if to > from { to } else { from + 1.0 } }
    }

    /// One from 0 to the first round number that is not below `most`.
    pub(super) fn up_to(most: f64) -> Self {
        let step = step(most, 2.0);
        Self::new(0.0, (most / step).ceil() * step)
    }

    pub(super) fn at(&self, value: f64) -> f64 {
        ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0)
    }

    pub(super) fn end(&self) -> f64 {
        self.to
    }

    /// Round numbers within the axis, about `number` of them.
    pub(super) fn ticks(&self, number: u32) -> Vec<f64> {
        let step = step(self.to - self.from, f64::from(number));
        let first = (self.from / step).ceil() * step;
        let tick = |nth: u32| first + f64::from(nth) * step;
        (0..=2 * number).map(tick).take_while(|tick| *tick <= self.to + step / 1e6).collect()
    }
}

/// The round number nearest above a `number`th of `span`.
fn step(span: f64, number: f64) -> f64 {
    let rough = (span / number).max(f64::MIN_POSITIVE);
    let unit = 10_f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0]
        .map(|factor| factor * unit)
        .into_iter()
        .find(|s| *s >= rough)
        .unwrap_or(10.0 * unit)
}

/// An axis on which equal distances are equal ratios. Values are nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Log {
    low: f64,
    high: f64,
}

impl Log {
    /// Whole decades that hold all of `values`, two at least.
    pub(super) fn around(values: impl IntoIterator<Item = u64>) -> Self {
        let log = |ns: u64| (ns.max(1) as f64).log10();
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values {
            (low, high) = (low.min(log(value)), high.max(log(value)));
        }
        if low > high {
            (low, high) = (5.0, 7.0);
        }
        let low = low.floor();
        Self { low, high: high.ceil().max(low + 2.0) }
    }

    pub(super) fn at(&self, ns: u64) -> f64 {
        (((ns.max(1) as f64).log10() - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// The powers of ten on the axis, with their names.
    pub(super) fn decades(&self) -> Vec<(u64, String)> {
        let names = ["ns", "µs", "ms", "s"];
        let mut decades = Vec::new();
        for (exponent, power) in (0..=14).map(|exponent| (exponent, 10_u64.pow(exponent))) {
            let place = f64::from(exponent);
            if place >= self.low && place <= self.high {
                let thousands = (exponent / 3).min(3);
                let name = names.iter().cycle().nth(usize::try_from(thousands).unwrap_or(3));
                let number = power / 1000_u64.pow(thousands);
                decades.push((power, format!("{number} {}", name.unwrap_or(&"s"))));
            }
        }
        decades
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round() {
        assert_eq!(
            Linear::new(0.0, 19.7).ticks(10),
            [0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0, 16.0, 18.0]
        );
        assert_eq!(Linear::new(-20.0, 80.0).ticks(5), [-20.0, 0.0, 20.0, 40.0, 60.0, 80.0]);
        assert!((Linear::up_to(6130.0).end() - 10_000.0).abs() < 1e-9);
        assert!((Linear::up_to(0.0).end() - 1.0).abs() < 1e-9);
        assert!(Linear::new(5.0, 5.0).at(5.0) < 1e-9);
    }

    #[test]
    fn decades_have_names() {
        let axis = Log::around([150_000, 11_000_000_000]);
        let names: Vec<_> = axis.decades().into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["100 µs", "1 ms", "10 ms", "100 ms", "1 s", "10 s", "100 s"]);
        assert!((axis.at(10_000_000) - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!(Log::around([]).decades().len(), 3);
    }
}
