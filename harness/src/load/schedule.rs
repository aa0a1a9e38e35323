//! When a population wants its operations, and how large they are.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use crate::chance;
use crate::scenario::plan::{Arrivals, Load, LoadKind};

/// One operation that a schedule wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Since the load began.
    pub(super) offset: Duration,
    /// Bytes of payload.
    pub(super) payload: usize,
    /// Whether the client finishes sending before it has the whole reply.
    pub(super) half_close: bool,
}

/// How the rate of a population goes over time.
#[derive(Clone, Copy, Debug)]
struct Rates {
    first: f64,
    last: f64,
    /// The ramp from the one to the other begins then, seconds, and lasts so long.
    begin: f64,
    over: f64,
}

impl Rates {
    fn new(load: &Load) -> Self {
        let first = load.rate;
        load.ramp.map_or(Self { first, last: first, begin: 0.0, over: 0.0 }, |ramp| Self {
            first,
            last: ramp.to,
            begin: ramp.begin.as_secs_f64(),
            over: ramp.over.as_secs_f64(),
        })
    }

    /// After how many seconds so many operations are wanted: the inverse of the sum of
    /// the rate over time.
    fn when(&self, wanted: f64) -> f64 {
        let behind = wanted - self.first * self.begin;
        if behind <= 0.0 {
            return wanted / self.first;
        }
        let beyond = behind - f64::midpoint(self.first, self.last) * self.over;
        if beyond > 0.0 || self.over == 0.0 {
            return self.begin + self.over + beyond / self.last;
        }
        let growth = (self.last - self.first) / self.over;
        let root = (self.first * self.first + 2.0 * growth * behind).max(0.0).sqrt();
        self.begin + 2.0 * behind / (self.first + root)
    }
}

/// The endless schedule of one population, in order of time.
#[derive(Debug)]
pub(super) struct Schedule {
    rng: StdRng,
    arrivals: Arrivals,
    rates: Rates,
    payload: (usize, usize),
    half_close: f64,
    index: u64,
    /// Operations that the rate has room for up to now; a whole number for uniform
    /// arrivals only.
    wanted: f64,
    offset: Duration,
}

impl Schedule {
    /// What `load` wants in a run with this seed.
    pub(super) fn new(seed: u64, load: &Load) -> Self {
        Self {
            rng: chance::stream(seed, &load.name, "schedule"),
            arrivals: load.arrivals,
            rates: Rates::new(load),
            payload: load.payload,
            half_close: match load.kind {
                LoadKind::Stream { half_close, .. } => half_close,
                LoadKind::Churn
                | LoadKind::KeepAlive { .. }
                | LoadKind::Idle { .. }
                | LoadKind::Udp { .. } => 0.0,
            },
            index: 0,
            wanted: 0.0,
            offset: Duration::ZERO,
        }
    }
}

impl Iterator for Schedule {
    type Item = Wanted;

    fn next(&mut self) -> Option<Wanted> {
        self.wanted = match self.arrivals {
            // The index itself and not a sum, so that no rounding adds up.
            Arrivals::Uniform => self.index as f64,
            Arrivals::Poisson => {
                let chance: f64 = self.rng.random();
                self.wanted - (1.0 - chance).ln()
            }
        };
        self.offset = self.offset.max(seconds(self.rates.when(self.wanted)));
        self.index += 1;
        let (least, most) = self.payload;
        let payload = self.rng.random_range(least..=most.max(least));
        // Drawn only where it is used, so that other schedules stay as they were.
        let half_close = self.half_close > 0.0 && self.rng.random_bool(self.half_close);
        Some(Wanted { offset: self.offset, payload, half_close })
    }
}

/// A rate of zero wants its next operation never.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::scenario::plan::{Endpoint, Pace, Ramp, Speak};

    fn load(name: &str, rate: f64, arrivals: Arrivals) -> Load {
        Load {
            name: name.to_owned(),
            kind: LoadKind::Churn,
            to: Endpoint::Tcp,
            speak: Speak::Echo,
            rate,
            arrivals,
            payload: (1, 4096),
            timeout: Duration::from_secs(1),
            stall: Duration::from_secs(1),
            ramp: None,
            bursts: Vec::new(),
        }
    }

    fn arrivals() -> impl Strategy<Value = Arrivals> {
        prop_oneof![Just(Arrivals::Uniform), Just(Arrivals::Poisson)]
    }

    proptest! {
        #[test]
        fn time_never_runs_backwards(seed: u64, arrivals in arrivals(), rate in 0.5..9000.0) {
            let wanted: Vec<_> = Schedule::new(seed, &load("a", rate, arrivals)).take(500).collect();
            prop_assert!(wanted.is_sorted_by_key(|wanted| wanted.offset));
            prop_assert!(wanted.iter().all(|wanted| (1..=4096).contains(&wanted.payload)));
        }

        // The spread of a Poisson count is its root: 10 % are six of them here.
        #[test]
        fn ten_seconds_hold_what_the_rate_says(
            seed: u64, arrivals in arrivals(), rate in 400.0..4000.0,
        ) {
            let count = Schedule::new(seed, &load("a", rate, arrivals))
                .take_while(|wanted| wanted.offset < Duration::from_secs(10))
                .count();
            let share = count as f64 / (rate * 10.0);
            prop_assert!((0.9..1.1).contains(&share), "{share}");
        }

        #[test]
        fn the_seed_decides_everything(seed: u64, arrivals in arrivals()) {
            let draw = |seed| -> Vec<_> {
                Schedule::new(seed, &load("a", 100.0, arrivals)).take(50).collect()
            };
            prop_assert_eq!(draw(seed), draw(seed));
            prop_assert_ne!(draw(seed), draw(seed.wrapping_add(1)));
        }

        #[test]
        fn populations_do_not_share_their_chance(seed: u64) {
            let draw = |name: &str| -> Vec<_> {
                Schedule::new(seed, &load(name, 100.0, Arrivals::Poisson)).take(50).collect()
            };
            let alone = draw("a");
            let mut other = Schedule::new(seed, &load("b", 100.0, Arrivals::Poisson));
            let mut beside = Schedule::new(seed, &load("a", 100.0, Arrivals::Poisson));
            let interleaved: Vec<_> =
                (0..50).filter_map(|_| { other.next(); beside.next() }).collect();
            prop_assert_eq!(&alone, &interleaved);
            prop_assert_ne!(alone, draw("b"));
        }
    }

    #[test]
    fn the_share_that_half_closes_is_the_one_asked_for() {
        let share = |half_close| {
            let kind = LoadKind::Stream { pace: Pace::default(), half_close };
            let load = Load { kind, ..load("a", 10.0, Arrivals::Uniform) };
            let drawn = Schedule::new(7, &load).take(10_000);
            drawn.filter(|wanted| wanted.half_close).count()
        };
        assert_eq!((share(0.0), share(1.0)), (0, 10_000));
        assert!((2300..2700).contains(&share(0.25)), "{}", share(0.25));
    }

    #[test]
    fn a_ramp_goes_from_one_rate_to_the_other() {
        let second = Duration::from_secs(1);
        for (first, to) in [(100.0, 900.0), (900.0, 100.0), (500.0, 500.0)] {
            for arrivals in [Arrivals::Uniform, Arrivals::Poisson] {
                let ramp = Some(Ramp { begin: 2 * second, over: 4 * second, to });
                let load = Load { ramp, ..load("a", first, arrivals) };
                let offsets: Vec<_> =
                    Schedule::new(7, &load).map(|wanted| wanted.offset).take(8000).collect();
                assert!(offsets.is_sorted());
                let within = |from: u32, to: u32| {
                    let from = offsets.partition_point(|offset| *offset < from * second);
                    (offsets.partition_point(|offset| *offset < to * second) - from) as f64
                };
                // Two seconds before it, its four seconds, its middle, and the second after.
                for (from, until, expected) in [
                    (0, 2, 2.0 * first),
                    (2, 6, 2.0 * (first + to)),
                    (3, 5, first + to),
                    (6, 7, to),
                ] {
                    let share = within(from, until) / expected;
                    let slack = if arrivals == Arrivals::Uniform { 0.02 } else { 0.3 };
                    assert!((share - 1.0).abs() < slack, "{first} {to} {from}: {share}");
                }
            }
        }
    }

    #[test]
    fn a_rate_of_zero_wants_nothing_soon() {
        let mut schedule = Schedule::new(1, &load("a", 0.0, Arrivals::Poisson));
        assert_eq!(schedule.next().unwrap().offset, Duration::MAX);
    }
}
