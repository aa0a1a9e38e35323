//! How single values are written in a scenario file. Whatever else is written,
//! the message says what to write.

use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::time::Duration;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::catalogue::{ENTRIES, Entry};
use super::error::suggestion;
use super::expect::Ending;
use super::gate::Window;
use super::plan::{Addressee, Arrivals, Delivered, Endpoint, Namespace, Offset, Signal};
use super::text;
use crate::event::{Anchor, Harm, Spared, Upshot};
use crate::units::{self, SeedChoice};

/// A value that has a form of its own in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written<T>(pub(super) T);

/// How a value is written in the file.
pub(super) trait Form: Sized {
    /// What to write, for messages.
    const FORM: &'static str;

    fn from_text(text: &str) -> Result<Self, String>;

    fn from_number(number: f64) -> Result<Self, String> {
        Err(format!("`{number}` is a bare number; write {}", Self::FORM))
    }
}

/// A value that is one of a few words, to be read and to be written.
pub(super) trait Word: Copy + PartialEq + 'static {
    /// Every value, by its word.
    const WORDS: &'static [(&'static str, Self)];

    fn word(self) -> &'static str {
        let known = Self::WORDS.iter().find(|(_, value)| *value == self);
        known.map_or("", |(word, _)| *word)
    }
}

#[derive(Debug)]
struct FormVisitor<T>(PhantomData<T>);

impl<T: Form> Visitor<'_> for FormVisitor<T> {
    type Value = Written<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::FORM)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Written<T>, E> {
        T::from_text(text).map(Written).map_err(E::custom)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Written<T>, E> {
        T::from_number(number).map(Written).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Written<T>, E> {
        // Through text, because no conversion says that it may round.
        number.to_string().parse().map_err(E::custom).and_then(|number| self.visit_f64(number))
    }
}

impl<'de, T: Form> Deserialize<'de> for Written<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FormVisitor(PhantomData))
    }
}

impl Form for Duration {
    const FORM: &'static str = units::SPAN_FORM;

    fn from_text(text: &str) -> Result<Self, String> {
        units::span(text).map_err(|error| error.to_string())
    }
}

/// Operations per second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate(pub(super) f64);

impl Form for Rate {
    const FORM: &'static str = units::RATE_FORM;

    fn from_text(text: &str) -> Result<Self, String> {
        units::rate(text).map(Self).map_err(|error| error.to_string())
    }

    fn from_number(number: f64) -> Result<Self, String> {
        units::rate_from_number(number).map(Self).map_err(|error| error.to_string())
    }
}

/// The most that is moved, bytes per second.
#[derive(Clone, Copy, Debug)]
pub(super) struct BytesPerSecond(pub(super) u64);

impl Form for BytesPerSecond {
    const FORM: &'static str = units::PACE_FORM;

    fn from_text(text: &str) -> Result<Self, String> {
        units::pace(text).map(Self).map_err(|error| error.to_string())
    }
}

impl Form for Endpoint {
    const FORM: &'static str = "\"tcp\" (the target's {addr}), \"unix:{dir}/NAME\" (a unix stream socket) or \
         \"seqpacket:{dir}/NAME\" (one for records)";

    fn from_text(text: &str) -> Result<Self, String> {
        let path = |path: &str| text::socket_path(path).map(|()| path.to_owned());
        match text.split_once(':') {
            None if text == "tcp" => Ok(Self::Tcp),
            Some(("unix", place)) => path(place).map(Self::Unix),
            Some(("seqpacket", place)) => path(place).map(Self::Seqpacket),
            Some(_) | None => Err(format!(
                "`{text}` is not {}{}",
                Self::FORM,
                suggestion(text, &["tcp", "unix:", "seqpacket:"])
            )),
        }
    }
}

impl Form for SocketAddr {
    const FORM: &'static str = "an address and a port, like \"127.0.0.1:8080\"";

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("`{text}` is not {}", Self::FORM))
    }
}

/// An inclusive range of bytes.
impl Form for (usize, usize) {
    const FORM: &'static str = units::BYTES_FORM;

    fn from_text(text: &str) -> Result<Self, String> {
        units::byte_range(text).map_err(|error| error.to_string())
    }
}

impl Form for SeedChoice {
    const FORM: &'static str = units::SEED_FORM;

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: units::UnitError| error.to_string())
    }
}

impl Form for Harm {
    const FORM: &'static str = "the id of a harm, as `harness list harms` prints it";

    fn from_text(text: &str) -> Result<Self, String> {
        Self::from_id(text).ok_or_else(|| {
            format!("`{text}` is no harm{}", suggestion(text, &Self::ALL.map(Self::id)))
        })
    }
}

impl Form for Signal {
    const FORM: &'static str = "the name of a signal, like \"SIGHUP\"";

    fn from_text(text: &str) -> Result<Self, String> {
        one_of(text, Self::WORDS)
    }
}

impl Word for Signal {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("SIGHUP", Self::SigHup),
        ("SIGINT", Self::SigInt),
        ("SIGQUIT", Self::SigQuit),
        ("SIGTERM", Self::SigTerm),
        ("SIGUSR1", Self::SigUsr1),
        ("SIGUSR2", Self::SigUsr2),
        ("SIGWINCH", Self::SigWinch),
    ];
}

impl Form for Addressee {
    const FORM: &'static str =
        "\"serving\" (the process that answers now) or \"main\" (the one first started)";

    fn from_text(text: &str) -> Result<Self, String> {
        one_of(text, Self::WORDS)
    }
}

impl Word for Addressee {
    const WORDS: &'static [(&'static str, Self)] =
        &[("serving", Self::Serving), ("main", Self::Main)];
}

impl Form for Namespace {
    const FORM: &'static str = "\"private\" (a network of the run's own) or \"host\"";

    fn from_text(text: &str) -> Result<Self, String> {
        one_of(text, Self::WORDS)
    }
}

impl Word for Namespace {
    const WORDS: &'static [(&'static str, Self)] =
        &[("private", Self::Private), ("host", Self::Host)];
}

/// What the clients of a load do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Churn,
    Stream,
    KeepAlive,
    Idle,
    Udp,
}

impl Form for Kind {
    const FORM: &'static str = "\"churn\" (a connection per request), \"stream\" (one per request, \
         sent and read at a pace), \"keep-alive\" (many requests each), \"idle\" (held in silence) or \"udp\" \
         (datagrams)";

    fn from_text(text: &str) -> Result<Self, String> {
        one_of(
            text,
            &[
                ("churn", Self::Churn),
                ("stream", Self::Stream),
                ("keep-alive", Self::KeepAlive),
                ("idle", Self::Idle),
                ("udp", Self::Udp),
            ],
        )
    }
}

/// What the clients of a load speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tongue {
    Echo,
    Http,
}

impl Form for Tongue {
    const FORM: &'static str =
        "\"echo\" (bytes that are to come back) or \"http\" (a GET by HTTP/1.1)";

    fn from_text(text: &str) -> Result<Self, String> {
        one_of(text, &[("echo", Self::Echo), ("http", Self::Http)])
    }
}

impl Form for Arrivals {
    const FORM: &'static str = "\"poisson\" (at random) or \"uniform\" (at equal distances)";

    fn from_text(text: &str) -> Result<Self, String> {
        one_of(text, Self::WORDS)
    }
}

impl Word for Arrivals {
    const WORDS: &'static [(&'static str, Self)] =
        &[("poisson", Self::Poisson), ("uniform", Self::Uniform)];
}

impl Form for Anchor {
    const FORM: &'static str = "an event: \"trigger\", \"new.seen\" (the new process is there), \
         \"new.answered\" (it answers its first connection), \"old.stopped\" (the old one answers \
         its last) or \"old.gone\" (it is gone)";

    fn from_text(text: &str) -> Result<Self, String> {
        one_of(text, &Self::ALL.map(|anchor| (anchor.name(), anchor)))
    }
}

impl Form for Offset {
    const FORM: &'static str = units::OFFSET_FORM;

    fn from_text(text: &str) -> Result<Self, String> {
        units::offset(text).map(Self).map_err(|error| error.to_string())
    }
}

impl Form for &'static Entry {
    const FORM: &'static str = "a fault, like \"kill-before-ready\" or its id \"C04\"";

    fn from_text(text: &str) -> Result<Self, String> {
        Entry::find(text).ok_or_else(|| {
            let words = ENTRIES.iter().flat_map(|entry| [entry.name, entry.id]);
            let mut accepted: Vec<&str> = words.collect();
            accepted.sort_unstable();
            accepted.dedup();
            format!("`{text}` is not {}{}", Self::FORM, suggestion(text, &accepted))
        })
    }
}

/// Numbers of upgrades: a list, or the first and the last like "2..200".
#[derive(Clone, Debug)]
pub(super) struct Numbers(pub(super) Vec<u64>);

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumbersVisitor)
    }
}

#[derive(Debug)]
struct NumbersVisitor;

impl<'de> Visitor<'de> for NumbersVisitor {
    type Value = Numbers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("numbers of upgrades, like [2, 5], or the first and the last like \"2..200\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Numbers, E> {
        let ends = text.split_once("..").and_then(|(first, last)| {
            Some((first.parse().ok()?, last.parse().ok()?)).filter(|(first, last)| first <= last)
        });
        let (first, last): (u64, u64) = ends.ok_or_else(|| {
            E::custom(format!("`{text}` is no range of upgrades; write it like \"2..200\""))
        })?;
        if last - first >= MOST_NUMBERS {
            return Err(E::custom(format!("`{text}` has more than {MOST_NUMBERS} numbers")));
        }
        Ok(Numbers((first..=last).collect()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Numbers, A::Error> {
        let mut numbers = Vec::new();
        while let Some(number) = list.next_element()? {
            numbers.push(number);
        }
        Ok(Numbers(numbers))
    }
}

/// A range that is longer is a slip of the pen.
const MOST_NUMBERS: u64 = 1_000_000;

impl Form for Upshot {
    const FORM: &'static str = "what becomes of the upgrade: \"fails\" or \"completes\"";

    fn from_text(text: &str) -> Result<Self, String> {
        one_of(text, Self::WORDS)
    }
}

impl Word for Upshot {
    const WORDS: &'static [(&'static str, Self)] =
        &[("fails", Self::Fails), ("completes", Self::Completes)];
}

impl Form for Spared {
    const FORM: &'static str = "which clients may be harmed: \"none\", or \"owned\" (those of the \
         process that dies)";

    fn from_text(text: &str) -> Result<Self, String> {
        one_of(text, Self::WORDS)
    }
}

impl Word for Spared {
    const WORDS: &'static [(&'static str, Self)] =
        &[("none", Self::All), ("owned", Self::ButItsOwn)];
}

impl Form for Ending {
    const FORM: &'static str = "how the run must end: \"pass\", \"fail\" or \"inconclusive\"";

    fn from_text(text: &str) -> Result<Self, String> {
        one_of(text, &Self::ALL.map(|ending| (ending.id(), ending)))
    }
}

impl Form for Window {
    const FORM: &'static str =
        "a window: \"baseline\", \"init\", \"handover\", \"drain\", \"after\" or \"during\"";

    fn from_text(text: &str) -> Result<Self, String> {
        one_of(text, &Self::ALL.map(|window| (window.id(), window)))
    }
}

impl Form for Delivered {
    const FORM: &'static str = "\"all\", or the number of faults that must have hit, like 9";

    fn from_text(text: &str) -> Result<Self, String> {
        one_of(text, &[("all", Self::All)])
    }

    fn from_number(number: f64) -> Result<Self, String> {
        let whole = number
            .to_string()
            .parse()
            .map_err(|_| format!("`{number}` is no number of faults; write {}", Self::FORM))?;
        Ok(Self::AtLeast(whole))
    }
}

fn one_of<T: Copy + Form>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
        let accepted: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        format!("`{text}` is not {}{}", T::FORM, suggestion(text, &accepted))
    })
}
