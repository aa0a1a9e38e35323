//! Who answered, as the server says itself in its first line.

use crate::event::Served;

/// The longest line that can be a greeting. Whoever sends more without an end
/// of line is not greeting.
pub(super) const LONGEST: usize = 512;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Generation,
    Pid,
}

/// What a greeting looks like: literal text around the numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    pieces: Vec<Piece>,
}

impl Template {
    /// The template written as `text`; `None` if it does not say where the pid
    /// stands, and where the generation does, once each. Only the latter may be
    /// left out.
    pub(super) fn new(text: &str) -> Option<Self> {
        let text = text.strip_suffix('\n').unwrap_or(text);
        let mut numbers = vec![("{pid}", Piece::Pid)];
        if text.contains("{generation}") {
            numbers.push(("{generation}", Piece::Generation));
        }
        let place =
            |(name, piece): (&str, Piece)| Some((Self::place(text, name)?, name.len(), piece));
        let mut numbers: Vec<_> = numbers.into_iter().map(place).collect::<Option<_>>()?;
        numbers.sort_by_key(|(place, ..)| *place);
        let mut pieces = Vec::new();
        let mut rest = 0;
        for (place, len, piece) in numbers {
            pieces.push(Piece::Literal(text.get(rest..place)?.to_owned()));
            pieces.push(piece);
            rest = place + len;
        }
        pieces.push(Piece::Literal(text.get(rest..)?.to_owned()));
        Some(Self { pieces })
    }

    /// The template of a header, and the header's name.
    pub(super) fn header(text: &str) -> Option<(String, Self)> {
        let (name, value) = text.split_once(':')?;
        Some((name.trim().to_owned(), Self::new(value.trim())?))
    }

    fn place(text: &str, name: &str) -> Option<usize> {
        let mut places = text.match_indices(name);
        let (place, _) = places.next()?;
        places.next().is_none().then_some(place)
    }

    /// Who sent `line`, given without its end of line; `None` if it is no greeting.
    pub(super) fn parse(&self, line: &[u8]) -> Option<Served> {
        let mut rest = std::str::from_utf8(line).ok()?;
        let (mut generation, mut pid) = (None, None);
        for piece in &self.pieces {
            if let Piece::Literal(text) = piece {
                rest = rest.strip_prefix(text.as_str())?;
                continue;
            }
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, behind) = rest.split_at(digits);
            rest = behind;
            match piece {
                Piece::Generation => generation = Some(number.parse().ok()?),
                Piece::Pid => pid = Some(number.parse().ok()?),
                Piece::Literal(_) => {}
            }
        }
        rest.is_empty().then_some(Served { generation, pid: pid? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_numbers_where_the_template_has_them() {
        let template = Template::new("generation {generation} pid {pid}").unwrap();
        let served = Some(Served { generation: Some(12), pid: 345 });
        assert_eq!(template.parse(b"generation 12 pid 345"), served);
        let turned = Template::new("<{pid}> is no. {generation}!\n").unwrap();
        assert_eq!(turned.parse(b"<345> is no. 12!"), served);
        let nameless = Template::new("pid {pid}").unwrap();
        assert_eq!(nameless.parse(b"pid 345"), Some(Served { generation: None, pid: 345 }));
        let (name, value) = Template::header("X-Served-By: {generation}/{pid} ").unwrap();
        assert_eq!((name.as_str(), value.parse(b"12/345")), ("X-Served-By", served));
    }

    #[test]
    fn anything_else_is_no_greeting() {
        let template = Template::new("generation {generation} pid {pid}").unwrap();
        for line in [
            "",
            "generation 12 pid ",
            "generation 12 pid 345 ",
            "generation -1 pid 345",
            "Generation 12 pid 345",
            "generation 12 pid 99999999999",
        ] {
            assert_eq!(template.parse(line.as_bytes()), None, "{line}");
        }
        assert_eq!(template.parse(b"generation 1 pid \xff"), None);
    }

    #[test]
    fn a_template_names_the_pid_and_nothing_twice() {
        for text in ["", "{generation}", "{pid}{pid}", "{pid}{generation}{generation}"] {
            assert_eq!(Template::new(text), None, "{text}");
        }
    }
}
