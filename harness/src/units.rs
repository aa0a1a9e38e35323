//! Quantities as people write them: spans, rates, ranges of bytes, seeds.
//!
//! Each parser accepts one form, and its error says which.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// How a span is written.
pub const SPAN_FORM: &str =
    "a span: a number and a unit (ns, us, ms, s, m, h), like \"250ms\", \"2s\", \"1.5m\" or \"0s\"";

/// How an offset is written.
pub const OFFSET_FORM: &str =
    "an offset of at most a second: a span, with a minus if it is before, like \"-1ms\"";

/// How a rate is written.
pub const RATE_FORM: &str =
    "a rate above zero, at most 10M/s: operations per second, like 6000, \"6000/s\" or \"6k/s\"";

/// How a range of sizes is written.
pub const BYTES_FORM: &str = "a size or an inclusive range of sizes, 1 byte to 16MiB, like \"256\", \"64..1024\" or \"1KiB..64KiB\"";

/// How a pace is written.
pub const PACE_FORM: &str = "bytes per second, 50 B/s to 16MiB/s, like \"64KiB/s\"";

/// How a seed is written.
pub const SEED_FORM: &str = "a seed: \"random\", or 1 to 16 hexadecimal digits, like \"0x5eed\"";

/// The largest payload: a client keeps two of them in memory per connection.
pub const MAX_PAYLOAD: usize = 16 << 20;

/// Beyond this the distance between two operations is below what a clock resolves.
const MAX_RATE: f64 = 10_000_000.0;

/// A thousand hours. It keeps sums of spans far from what a timer can hold.
const MAX_SPAN: Duration = Duration::from_hours(1000);

/// A quantity that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` {problem}; write {form}")]
pub struct UnitError {
    given: String,
    problem: &'static str,
    form: &'static str,
}

impl UnitError {
    fn new(given: impl fmt::Display, problem: &'static str, form: &'static str) -> Self {
        Self { given: given.to_string(), problem, form }
    }
}

/// Reads a span, like `250ms`.
///
/// # Errors
///
/// When it is not of [`SPAN_FORM`], or longer than a thousand hours.
pub fn span(text: &str) -> Result<Duration, UnitError> {
    let (number, unit) = split_number(text);
    let nanos: u64 = match unit {
        "ns" => 1,
        "us" | "µs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "" => return Err(UnitError::new(text, "has no unit", SPAN_FORM)),
        _ => return Err(UnitError::new(text, "is not a span", SPAN_FORM)),
    };
    // Exactly, where that is possible: what was written by a machine comes back
    // to the last nanosecond.
    let span = match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(nanos).map(Duration::from_nanos),
        Err(_) => {
            let amount: f64 =
                number.parse().map_err(|_| UnitError::new(text, "is not a span", SPAN_FORM))?;
            let unit = Duration::from_nanos(nanos).as_secs_f64();
            Duration::try_from_secs_f64(amount * unit).ok()
        }
    };
    span.filter(|span| *span <= MAX_SPAN)
        .ok_or_else(|| UnitError::new(text, "is longer than 1000h", SPAN_FORM))
}

/// A span as [`span`] reads it back, in the largest unit of which it is a whole
/// number.
#[must_use]
pub fn span_text(span: Duration) -> String {
    let nanos = span.as_nanos();
    let units = [("m", 60_000_000_000), ("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000)];
    let whole = |(_, unit): &&(&str, u128)| nanos > 0 && nanos.is_multiple_of(*unit);
    match units.iter().find(whole) {
        Some((name, unit)) => format!("{}{name}", nanos / unit),
        None if nanos == 0 => "0s".to_owned(),
        None => format!("{nanos}ns"),
    }
}

/// Reads an offset, like `-1ms`, in nanoseconds.
///
/// # Errors
///
/// When it is not of [`OFFSET_FORM`].
pub fn offset(text: &str) -> Result<i64, UnitError> {
    let wrong = || UnitError::new(text, "is not an offset", OFFSET_FORM);
    let (sign, length) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let length = span(length).ok().filter(|length| *length <= Duration::from_secs(1));
    let nanos = length.and_then(|length| i64::try_from(length.as_nanos()).ok());
    nanos.map(|nanos| sign * nanos).ok_or_else(wrong)
}

/// Reads a rate in operations per second, like `6k/s`.
///
/// # Errors
///
/// When it is not of [`RATE_FORM`].
pub fn rate(text: &str) -> Result<f64, UnitError> {
    let per_second = text.strip_suffix("/s").unwrap_or(text);
    let (number, unit) = split_number(per_second);
    let factor = match unit {
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        _ => return Err(UnitError::new(text, "is not a rate", RATE_FORM)),
    };
    let amount: f64 =
        number.parse().map_err(|_| UnitError::new(text, "is not a rate", RATE_FORM))?;
    rate_from_number(amount * factor).map_err(|_| out_of_range(text))
}

/// Takes a bare number as operations per second.
///
/// # Errors
///
/// When no load can have this rate.
pub fn rate_from_number(rate: f64) -> Result<f64, UnitError> {
    if rate > 0.0 && rate <= MAX_RATE { Ok(rate) } else { Err(out_of_range(rate)) }
}

fn out_of_range(given: impl fmt::Display) -> UnitError {
    UnitError::new(given, "is a rate that no load can have", RATE_FORM)
}

/// Reads a size (`256`) or an inclusive range of sizes (`64..1024`), in bytes.
///
/// # Errors
///
/// When it is not of [`BYTES_FORM`], or the range is empty.
pub fn byte_range(text: &str) -> Result<(usize, usize), UnitError> {
    let (low, high) = text.split_once("..").unwrap_or((text, text));
    let read = |text_of_one| {
        bytes(text_of_one).ok_or_else(|| UnitError::new(text, "is not a range", BYTES_FORM))
    };
    let (low, high) = (read(low)?, read(high)?);
    if low > high {
        return Err(UnitError::new(text, "is empty: its end is below its start", BYTES_FORM));
    }
    if low == 0 {
        return Err(UnitError::new(text, "begins at nothing: nothing echoes as", BYTES_FORM));
    }
    if high > MAX_PAYLOAD {
        return Err(UnitError::new(text, "is too large", BYTES_FORM));
    }
    Ok((low, high))
}

/// The slowest pace: a byte for each step that a slow client takes in a second.
const MIN_PACE: usize = 50;

/// Reads a pace, bytes per second.
///
/// # Errors
///
/// When it is not of [`PACE_FORM`].
pub fn pace(text: &str) -> Result<u64, UnitError> {
    text.strip_suffix("/s")
        .and_then(|size| bytes(size.trim_end()))
        .filter(|pace| (MIN_PACE..=MAX_PAYLOAD).contains(pace))
        .and_then(|pace| u64::try_from(pace).ok())
        .ok_or_else(|| UnitError::new(text, "is not a pace", PACE_FORM))
}

fn bytes(text: &str) -> Option<usize> {
    let (number, unit) = split_number(text);
    let factor: usize = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(factor)
}

/// Splits off the leading digits, with at most one point among them. What
/// `f64` would also read (`inf`, `1e9`, `-1`) is no number here.
fn split_number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(end)
}

/// Where a run's randomness comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeedChoice {
    /// The operating system chooses; the run prints what it chose.
    Random,
    /// This seed, to do again what an earlier run did.
    Fixed(u64),
}

impl FromStr for SeedChoice {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        if text == "random" {
            return Ok(Self::Random);
        }
        let Some(digits) = text.strip_prefix("0x") else {
            return Err(UnitError::new(text, "is not a seed", SEED_FORM));
        };
        // `from_str_radix` would also take a sign.
        if digits.starts_with(['+', '-']) {
            return Err(UnitError::new(text, "is not a seed", SEED_FORM));
        }
        u64::from_str_radix(digits, 16)
            .map(Self::Fixed)
            .map_err(|_| UnitError::new(text, "is not a seed", SEED_FORM))
    }
}

impl fmt::Display for SeedChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random => f.write_str("random"),
            Self::Fixed(seed) => f.write_str(&seed_text(*seed)),
        }
    }
}

/// A seed as it is printed, and as `--seed` reads it back.
#[must_use]
pub fn seed_text(seed: u64) -> String {
    format!("{seed:#x}")
}

/// Serializes a seed as [`seed_text`]: a JSON number this large loses digits in
/// most readers, and a seed that lost digits repeats nothing.
///
/// # Errors
///
/// When the serializer fails.
pub fn serialize_seed<S: Serializer>(seed: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&seed_text(*seed))
}

/// Reads back what [`serialize_seed`] wrote.
///
/// # Errors
///
/// When it is no such text.
pub fn deserialize_seed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.parse() {
        Ok(SeedChoice::Fixed(seed)) => Ok(seed),
        Ok(SeedChoice::Random) => Err(de::Error::custom("`random` is no seed that was drawn")),
        Err(error) => Err(de::Error::custom(error)),
    }
}

/// How a share of a load is written.
pub const SHARD_FORM: &str = "a share: which of how many, counted from 1, like \"2/4\"";

/// Which share of a run's load a generator takes, if several run at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Shard {
    index: u32,
    of: u32,
}

impl Shard {
    /// The only share: all of it.
    pub const WHOLE: Self = Self { index: 1, of: 1 };

    /// Which one, from 1.
    #[must_use]
    pub fn index(self) -> u32 {
        self.index
    }

    /// Of how many.
    #[must_use]
    pub fn of(self) -> u32 {
        self.of
    }

    /// This share of a number of things that cannot be divided. All shares
    /// together are that number.
    #[must_use]
    pub fn share(self, number: u64) -> u64 {
        let up_to = |index: u32| {
            // It is at most `number`.
            let part = u128::from(number) * u128::from(index) / u128::from(self.of);
            u64::try_from(part).unwrap_or(number)
        };
        up_to(self.index) - up_to(self.index - 1)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> Self {
        shard.to_string()
    }
}

impl FromStr for Shard {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let number = |text: &str| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|number: &u32| digits && *number >= 1)
        };
        text.split_once('/')
            .and_then(|(index, of)| Some(Self { index: number(index)?, of: number(of)? }))
            .filter(|shard| shard.index <= shard.of)
            .ok_or_else(|| UnitError::new(text, "is not a share", SHARD_FORM))
    }
}

impl TryFrom<String> for Shard {
    type Error = UnitError;

    fn try_from(text: String) -> Result<Self, UnitError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        let cases = [
            ("250ms", 250_000_000),
            ("2s", 2_000_000_000),
            ("1m", 60_000_000_000),
            ("0s", 0),
            ("1.5s", 1_500_000_000),
            ("7us", 7_000),
            ("7µs", 7_000),
            ("3ns", 3),
            ("1000h", 3_600_000_000_000_000),
        ];
        for (text, nanos) in cases {
            assert_eq!(span(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
        for text in ["", "s", "2", "-2s", "2 s", "2sec", "1e3s", "infs", "1.2.3s", "1001h", "1m30s"]
        {
            let error = span(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}`")), "{error}");
            assert!(error.contains("\"250ms\""), "{error}");
        }
    }

    #[test]
    fn a_span_comes_back_as_it_was_printed() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (250_000_000, "250ms"),
            (90_000_000_000, "90s"),
            (120_000_000_000, "2m"),
            (3_599_999_999_999_999, "3599999999999999ns"),
        ] {
            assert_eq!(span_text(Duration::from_nanos(nanos)), text);
            assert_eq!(span(text), Ok(Duration::from_nanos(nanos)));
        }
    }

    #[test]
    fn offsets() {
        for (text, nanos) in
            [("-1ms", -1_000_000), ("0s", 0), ("250us", 250_000), ("1s", 1_000_000_000)]
        {
            assert_eq!(offset(text), Ok(nanos), "{text}");
        }
        for text in ["", "-", "--1ms", "+1ms", "1", "1001ms", "-2s"] {
            assert!(offset(text).unwrap_err().to_string().contains("\"-1ms\""), "{text}");
        }
    }

    #[test]
    fn rates() {
        let cases = [
            ("6000", 6e3),
            ("6000/s", 6e3),
            ("6k/s", 6e3),
            ("0.5", 0.5),
            ("1.5k", 1.5e3),
            ("1M/s", 1e6),
        ];
        for (text, expected) in cases {
            assert_eq!(rate(text), Ok(expected), "{text}");
        }
        for text in ["", "0", "0/s", "-1", "6K/s", "6k/m", "inf", "nan", "11M/s"] {
            let error = rate(text).unwrap_err().to_string();
            assert!(error.contains("\"6k/s\""), "{error}");
        }
        for number in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(rate_from_number(number).is_err(), "{number}");
        }
    }

    #[test]
    fn ranges_of_bytes() {
        let cases = [
            ("256", (256, 256)),
            ("64..1024", (64, 1024)),
            ("1KiB..2KiB", (1024, 2048)),
            ("16MiB", (MAX_PAYLOAD, MAX_PAYLOAD)),
        ];
        for (text, expected) in cases {
            assert_eq!(byte_range(text), Ok(expected), "{text}");
        }
        let huge = format!("{}KiB", usize::MAX);
        for text in ["", "..", "64..", "..64", "9..8", "0", "0..8", "17MiB", "1.5", "1kB", &huge] {
            let error = byte_range(text).unwrap_err().to_string();
            assert!(error.contains("\"64..1024\""), "{error}");
        }
    }

    #[test]
    fn seeds_come_back_as_they_were_printed() {
        assert_eq!("random".parse(), Ok(SeedChoice::Random));
        for seed in [0, 0x5eed, u64::MAX] {
            assert_eq!(seed_text(seed).parse(), Ok(SeedChoice::Fixed(seed)));
        }
        for text in ["", "5eed", "0x", "0x+5", "0xg", "0x10000000000000000", "Random"] {
            let error = text.parse::<SeedChoice>().unwrap_err().to_string();
            assert!(error.contains("0x5eed"), "{error}");
        }
    }

    #[test]
    fn shares_are_a_whole_together() {
        for of in [1, 2, 3, 7] {
            let shards = (1..=of).map(|index| Shard { index, of });
            for number in [0, 1, 5, u64::MAX] {
                let sum: u64 = shards.clone().map(|shard| shard.share(number)).sum();
                assert_eq!(sum, number);
            }
            assert!(shards.clone().all(|shard| shard.to_string().parse() == Ok(shard)));
        }
        for text in ["", "1", "0/2", "3/2", "1/0", "+1/2", "1/2/3", "a/b"] {
            let error = text.parse::<Shard>().unwrap_err().to_string();
            assert!(error.contains("\"2/4\""), "{error}");
        }
    }
}
