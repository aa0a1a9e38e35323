//! Why a scenario cannot be meant, in words that say what to write instead.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::change::{self, Change};

/// A scenario that cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file could not be read.
    #[error("{}: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// A change of the file, asked for on the command line, cannot be made or meant.
    #[error("{flag}: {message}")]
    Change {
        /// The flag.
        flag: String,
        /// What is wrong with it, and what to write instead.
        message: String,
    },
    /// The file was read, but cannot be meant.
    #[error("{}:{line}:{column}: {message}\n  | {excerpt}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line at fault, counted from 1.
        line: usize,
        /// The column at fault, in characters, counted from 1.
        column: usize,
        /// What is wrong with it, and what to write instead.
        message: String,
        /// The line as it stands in the file.
        excerpt: String,
    },
}

/// A mistake at a place in the text, before anyone has asked which line that is.
#[derive(Debug)]
pub(super) struct Mistake {
    span: Range<usize>,
    message: String,
}

impl Mistake {
    pub(super) fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span, message: message.into() }
    }

    /// The mistake as one of a change, if it is in what a change has put there.
    pub(super) fn in_change(self, source: &str, changes: &[Change]) -> Result<ScenarioError, Self> {
        match change::blamed(source, changes, &self.span) {
            Some(flag) => {
                Ok(ScenarioError::Change { flag: flag.to_owned(), message: self.message })
            }
            None => Err(self),
        }
    }

    /// A mistake of the file as a whole.
    pub(super) fn anywhere(message: impl Into<String>) -> Self {
        Self::at(0..0, message)
    }

    pub(super) fn in_file(self, path: &Path, source: &str) -> ScenarioError {
        // A span that does not fit the text must not cost us the message.
        let before = source.get(..self.span.start).unwrap_or("");
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        ScenarioError::Invalid {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before.chars().count()
                - before.get(..line_start).map_or(0, |head| head.chars().count())
                + 1,
            message: self.message,
            excerpt: source
                .get(line_start..)
                .and_then(|rest| rest.lines().next())
                .unwrap_or("")
                .to_owned(),
        }
    }
}

/// Says `message` of what is written at `span`, unless something `holds`.
pub(super) fn require<M: Into<String>>(
    holds: bool,
    span: &Range<usize>,
    message: impl FnOnce() -> M,
) -> Result<(), Mistake> {
    if holds { Ok(()) } else { Err(Mistake::at(span.clone(), message())) }
}

/// Applies a check of a text to a value, whose place the check does not know.
pub(super) fn checked(
    value: &Spanned<String>,
    check: impl FnOnce(&str) -> Result<(), String>,
) -> Result<(), Mistake> {
    check(value.get_ref()).map_err(|message| Mistake::at(value.span(), message))
}

impl From<toml::de::Error> for Mistake {
    fn from(error: toml::de::Error) -> Self {
        Self::at(error.span().unwrap_or(0..0), taught(error.message()))
    }
}

/// Rewrites serde's message in the words of the file's author, who does not
/// know what a `usize` is. A key that does not exist is answered with those
/// that do: the message names them, in backticks, behind the wrong one.
fn taught(message: &str) -> String {
    let mut words = message.split('`').skip(1).step_by(2);
    if message.starts_with("unknown field")
        && let Some(wrong) = words.next()
    {
        let accepted: Vec<&str> = words.collect();
        return format!("there is no key `{wrong}` here{}", suggestion(wrong, &accepted));
    }
    if message.starts_with("missing field")
        && let Some(key) = words.next()
    {
        return format!("the key `{key}` is missing here, and nothing can stand in for it");
    }
    let whole = "a whole number, 0 or more, without quotes, like 20";
    for (tail, form) in [
        ("usize", whole),
        ("u64", whole),
        ("u32", whole),
        ("f64", "a number without quotes, like 20"),
    ] {
        if let Some(head) = message.strip_suffix(tail).filter(|head| head.ends_with("expected ")) {
            return format!("{head}{form}");
        }
    }
    message.to_owned()
}

/// What to say behind "this is none of these": the nearest, then all.
pub(super) fn suggestion(wrong: &str, accepted: &[&str]) -> String {
    let meant = meant(wrong, accepted);
    let all = accepted.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    format!("{meant}; accepted: {all}")
}

/// The nearest, if one is near, as a question.
pub(super) fn meant(wrong: &str, accepted: &[&str]) -> String {
    let nearest = accepted
        .iter()
        .map(|word| (distance(wrong, word), word))
        .filter(|(distance, word)| *distance <= word.len().div_ceil(3))
        .min();
    nearest.map(|(_, word)| format!("; did you mean `{word}`?")).unwrap_or_default()
}

/// How many letters must be put in, taken out, changed or swapped with the next to
/// make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // Of the beginnings of `a` two letters shorter, one shorter, and of this length.
    let mut shorter: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut next = vec![i + 1];
        for j in 0..b.len() {
            let changed = row[j] + usize::from(a[i] != b[j]);
            let mut least = changed.min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                least = least.min(shorter[j - 1] + 1);
            }
            next.push(least);
        }
        shorter = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("rat", "rate", 1),
            ("raet", "rate", 1),
            ("raet", "ramp", 2),
            ("ca", "abc", 3),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn only_a_near_word_is_suggested() {
        assert_eq!(
            suggestion("raet", &["name", "rate"]),
            "; did you mean `rate`?; accepted: `name`, `rate`"
        );
        assert_eq!(suggestion("colour", &["rate"]), "; accepted: `rate`");
    }

    #[test]
    fn places_are_counted_in_characters_from_one() {
        let source = "é = 1\nö = ü\n";
        let start = source.find('ü').unwrap();
        let error = Mistake::at(start..start + 2, "no").in_file(Path::new("s.toml"), source);
        assert_eq!(error.to_string(), "s.toml:2:5: no\n  | ö = ü");
    }
}
