//! As much of HTTP/1.1 as a client needs that asks for one resource: what it
//! sends, and the answer, taken as it comes. Without I/O.
//!
//! Everything is bounded: a server may send whatever it likes for as long as it
//! likes, and is found out by what it sent.

use httparse::{EMPTY_HEADER, Header, Response, Status, parse_chunk_size, parse_headers};

use super::greeting::Template;
use crate::event::{Harm, Served};
use crate::scenario::plan::Http;

/// The longest head of an answer, bytes. Servers send less than half of it.
const LONGEST_HEAD: usize = 16 * 1024;

/// The most headers, or trailers, of an answer.
const MOST_HEADERS: usize = 96;

/// The longest line with the size of a chunk, bytes.
const LONGEST_SIZE: usize = 256;

/// What the clients of one population say and expect to hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Talk {
    request: Vec<u8>,
    /// The name of the header that says who answers, and how it says it.
    who: Option<(String, Template)>,
    expected: Http,
}

impl Talk {
    /// How to ask for what `http` names. `None` if `greeting` is no header with a
    /// pid in it.
    pub(super) fn new(http: &Http, greeting: Option<&str>) -> Option<Self> {
        let Http { path, host, .. } = http;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: harness\r\nAccept: */*\r\n\r\n"
        );
        let who = match greeting {
            Some(text) => Some(Template::header(text)?),
            None => None,
        };
        Some(Self { request: request.into_bytes(), who, expected: http.clone() })
    }

    /// The request, which is always the same.
    pub(super) fn request(&self) -> &[u8] {
        &self.request
    }

    /// The answer to one request, of which nothing has come yet.
    pub(super) fn answer(&self) -> Answer<'_> {
        Answer {
            talk: self,
            part: Part::Head,
            rest: Vec::new(),
            status: 0,
            length: 0,
            served: None,
            last: false,
        }
    }

    fn accepts(&self, status: u16) -> bool {
        match self.expected.status {
            Some(expected) => status == expected,
            None => (200..400).contains(&status),
        }
    }
}

/// What is to come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Head,
    /// So much of a body that has a length.
    Body(u64),
    ChunkSize,
    /// So much of a chunk.
    Chunk(u64),
    /// The line break behind a chunk.
    ChunkEnd,
    Trailers,
    /// A body that ends with the connection.
    UntilEnd,
    Nothing,
}

/// An answer, as far as it has come.
#[derive(Clone, Debug)]
pub(super) struct Answer<'a> {
    talk: &'a Talk,
    part: Part,
    /// What came, and is not enough to be understood.
    rest: Vec<u8>,
    status: u16,
    /// Bytes of its body.
    length: u64,
    served: Option<Served>,
    last: bool,
}

impl Answer<'_> {
    /// Takes what came.
    ///
    /// # Errors
    ///
    /// `Corrupt`: it is no HTTP, or has no end. `DupBytes`: more came than an answer.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(), Harm> {
        let mut came = std::mem::take(&mut self.rest);
        came.extend_from_slice(bytes);
        let mut left = came.as_slice();
        while self.part != Part::Nothing && !left.is_empty() {
            let Some(used) = self.part(left)? else { break };
            left = left.get(used..).unwrap_or_default();
        }
        if self.part == Part::Nothing && !left.is_empty() {
            return Err(Harm::DupBytes);
        }
        self.rest = left.to_vec();
        Ok(())
    }

    /// Notes that the connection has ended; whether the answer is whole.
    pub(super) fn end(&mut self) -> bool {
        if self.part == Part::UntilEnd {
            self.part = Part::Nothing;
        }
        self.is_whole()
    }

    /// Whether all of it is there.
    pub(super) fn is_whole(&self) -> bool {
        self.part == Part::Nothing
    }

    /// Whether no other answer will come on this connection.
    pub(super) fn is_last(&self) -> bool {
        self.last
    }

    /// Who says that it answered.
    pub(super) fn served(&self) -> Option<Served> {
        self.served
    }

    /// What is wrong with a whole answer.
    pub(super) fn harm(&self) -> Option<Harm> {
        let Talk { who, expected, .. } = self.talk;
        if !self.talk.accepts(self.status) {
            return Some(Harm::BadStatus);
        }
        if who.is_some() && self.served.is_none() {
            return Some(Harm::Corrupt);
        }
        match expected.body_bytes {
            Some(expected) if self.length < expected => Some(Harm::LostBytes),
            Some(expected) if self.length > expected => Some(Harm::DupBytes),
            Some(_) | None => None,
        }
    }

    /// Takes one part off the front of `left`; `None` if it is not all there yet.
    fn part(&mut self, left: &[u8]) -> Result<Option<usize>, Harm> {
        match self.part {
            Part::Head => self.head(left),
            Part::Body(size) => Ok(Some(self.body(left, size, Part::Body, Part::Nothing))),
            Part::Chunk(size) => Ok(Some(self.body(left, size, Part::Chunk, Part::ChunkEnd))),
            Part::UntilEnd => {
                Ok(Some(self.body(left, u64::MAX, |_| Part::UntilEnd, Part::UntilEnd)))
            }
            Part::ChunkSize => self.chunk_size(left),
            Part::ChunkEnd => match left {
                [b'\r', b'\n', ..] => {
                    self.part = Part::ChunkSize;
                    Ok(Some(2))
                }
                [b'\r'] => Ok(None),
                [..] => Err(Harm::Corrupt),
            },
            Part::Trailers => {
                let mut trailers = [EMPTY_HEADER; MOST_HEADERS];
                match parse_headers(left, &mut trailers) {
                    Ok(Status::Complete((used, _))) => {
                        self.part = Part::Nothing;
                        Ok(Some(used))
                    }
                    Ok(Status::Partial) if left.len() < LONGEST_HEAD => Ok(None),
                    Ok(Status::Partial) | Err(_) => Err(Harm::Corrupt),
                }
            }
            Part::Nothing => Ok(None),
        }
    }

    /// Takes as much of a body as is there. `more` is what is to come while there
    /// is more of it, `then` what comes behind.
    fn body(&mut self, left: &[u8], size: u64, more: fn(u64) -> Part, then: Part) -> usize {
        let used = usize::try_from(size).map_or(left.len(), |size| size.min(left.len()));
        let size = size - used as u64;
        self.length += used as u64;
        self.part = if size == 0 { then } else { more(size) };
        used
    }

    fn chunk_size(&mut self, left: &[u8]) -> Result<Option<usize>, Harm> {
        match parse_chunk_size(left) {
            Ok(Status::Complete((used, 0))) => {
                self.part = Part::Trailers;
                Ok(Some(used))
            }
            Ok(Status::Complete((used, size))) => {
                self.part = Part::Chunk(size);
                Ok(Some(used))
            }
            Ok(Status::Partial) if left.len() < LONGEST_SIZE => Ok(None),
            Ok(Status::Partial) | Err(_) => Err(Harm::Corrupt),
        }
    }

    fn head(&mut self, left: &[u8]) -> Result<Option<usize>, Harm> {
        let mut headers = [EMPTY_HEADER; MOST_HEADERS];
        let mut response = Response::new(&mut headers);
        let used = match response.parse(left) {
            Ok(Status::Complete(used)) => used,
            Ok(Status::Partial) if left.len() < LONGEST_HEAD => return Ok(None),
            Ok(Status::Partial) | Err(_) => return Err(Harm::Corrupt),
        };
        self.status = response.code.unwrap_or(0);
        match self.status {
            // Nobody has asked for another protocol.
            101 => return Err(Harm::Corrupt),
            // The answer proper is still to come.
            100..200 => return Ok(Some(used)),
            _ => {}
        }
        let first_of_its_kind = response.version == Some(0);
        self.last = closes(response.headers).unwrap_or(first_of_its_kind);
        if let Some((name, template)) = &self.talk.who {
            self.served = named(response.headers, name).find_map(|value| template.parse(value));
        }
        self.part = self.behind_head(response.headers)?;
        self.last |= self.part == Part::UntilEnd;
        Ok(Some(used))
    }

    /// What comes behind this head.
    fn behind_head(&self, headers: &[Header<'_>]) -> Result<Part, Harm> {
        if matches!(self.status, 204 | 304) {
            return Ok(Part::Nothing);
        }
        if let Some(last) = tokens(headers, "transfer-encoding").last() {
            let chunked = last.eq_ignore_ascii_case("chunked");
            return Ok(if chunked { Part::ChunkSize } else { Part::UntilEnd });
        }
        let mut lengths = tokens(headers, "content-length");
        let Some(first) = lengths.next() else { return Ok(Part::UntilEnd) };
        // Said twice, it has to be the same.
        if !first.bytes().all(|byte| byte.is_ascii_digit()) || lengths.any(|other| other != first) {
            return Err(Harm::Corrupt);
        }
        match first.parse().map_err(|_| Harm::Corrupt)? {
            0 => Ok(Part::Nothing),
            length => Ok(Part::Body(length)),
        }
    }
}

/// The values of the headers with this name.
fn named<'a>(headers: &'a [Header<'_>], name: &str) -> impl Iterator<Item = &'a [u8]> {
    headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .map(|header| header.value)
}

/// The values of the headers with this name, which are lists.
fn tokens<'a>(headers: &'a [Header<'_>], name: &str) -> impl Iterator<Item = &'a str> {
    // What is no text is no token that we know.
    named(headers, name)
        .map(|value| std::str::from_utf8(value).unwrap_or(""))
        .flat_map(|value| value.split(',').map(str::trim))
}

/// Whether the server says that it will close the connection, if it says anything.
fn closes(headers: &[Header<'_>]) -> Option<bool> {
    let says =
        |word: &str| tokens(headers, "connection").any(|token| token.eq_ignore_ascii_case(word));
    if says("close") {
        Some(true)
    } else if says("keep-alive") {
        Some(false)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk(status: Option<u16>, body_bytes: Option<u64>) -> Talk {
        let http = Http { path: "/a".to_owned(), host: "h".to_owned(), status, body_bytes };
        Talk::new(&http, Some("x-served-by: {pid}")).unwrap()
    }

    /// However it is cut into pieces, it is taken for the same. Whether it is whole,
    /// whether it is the last, and its harm or that of its form.
    fn read(talk: &Talk, text: &str, ends: bool) -> (bool, bool, Option<&'static str>) {
        let pieces = [1, 2, 7, usize::MAX].map(|size| {
            let mut answer = talk.answer();
            for piece in text.as_bytes().chunks(size.min(text.len())) {
                if let Err(harm) = answer.take(piece) {
                    return (false, false, Some(harm.id()));
                }
            }
            if ends {
                answer.end();
            }
            let harm = answer.is_whole().then(|| answer.harm().map(Harm::id)).flatten();
            (answer.is_whole(), answer.is_last(), harm)
        });
        assert!(pieces.iter().all(|read| *read == pieces[0]), "{text:?}: {pieces:?}");
        pieces[0]
    }

    fn head(lines: &str) -> String {
        format!("HTTP/1.1 200 OK\r\nX-Served-By: 77\r\n{lines}\r\n")
    }

    #[test]
    fn the_request_names_path_and_host() {
        let talk = talk(None, None);
        assert!(talk.request().starts_with(b"GET /a HTTP/1.1\r\nHost: h\r\n"));
        assert!(talk.request().ends_with(b"\r\n\r\n"));
        let mut answer = talk.answer();
        answer.take(head("Content-Length: 0\r\n").as_bytes()).unwrap();
        assert_eq!(answer.served(), Some(Served { generation: None, pid: 77 }));
    }

    #[test]
    fn a_body_ends_where_the_head_says() {
        let talk = talk(None, None);
        let chunked = head("Transfer-Encoding: chunked\r\n");
        let sized = head("content-length: 5\r\n");
        for (text, ends, whole, last) in [
            (format!("{sized}12345"), false, true, false),
            (format!("{sized}1234"), false, false, false),
            (format!("{sized}1234"), true, false, false),
            (format!("{chunked}3\r\nabc\r\n1;x=y\r\nd\r\n0\r\n\r\n"), false, true, false),
            (format!("{chunked}1\r\na\r\n0\r\nTrailer: x\r\n\r\n"), false, true, false),
            (format!("{chunked}3\r\nabc\r\n"), true, false, false),
            (format!("{chunked}3\r\nabc\r\n0\r\n"), true, false, false),
            (head("Content-Length: 0\r\nConnection: Close\r\n"), false, true, true),
            // Without a length, only the end of the connection is one.
            (format!("{}abc", head("")), false, false, true),
            (format!("{}abc", head("")), true, true, true),
            (format!("HTTP/1.1 100 Continue\r\n\r\n{sized}12345"), false, true, false),
            (head("").replace("200 OK", "304 Not Modified"), false, true, false),
            (format!("{sized}12345").replace("/1.1", "/1.0"), false, true, true),
            (
                format!("{}1", head("Content-Length: 1\r\nConnection: keep-alive\r\n"))
                    .replace("/1.1", "/1.0"),
                false,
                true,
                false,
            ),
        ] {
            assert_eq!(read(&talk, &text, ends), (whole, last, None), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_answer_is_corrupt() {
        let talk = talk(None, None);
        let endless = format!("{}X: {}", head("").trim_end(), "x".repeat(LONGEST_HEAD));
        let many = head(&"X: y\r\n".repeat(MOST_HEADERS));
        let size = format!("{}0;{}", head("Transfer-Encoding: chunked\r\n"), "x".repeat(300));
        for text in [
            "generation 3 pid 77\n",
            &endless,
            &many,
            &size,
            &head("Content-Length: 5, 6\r\n"),
            &head("Content-Length: -5\r\n"),
            &head("Content-Length: 99999999999999999999\r\n"),
            &format!("{}xyz\r\n", head("Transfer-Encoding: chunked\r\n")),
            &format!("{}1\r\nabc", head("Transfer-Encoding: chunked\r\n")),
            &head("").replace("200 OK", "101 Switching Protocols"),
        ] {
            assert_eq!(read(&talk, text, false).2, Some("corrupt"), "{text:?}");
        }
    }

    #[test]
    fn what_comes_behind_an_answer_is_too_much() {
        let text = format!("{}12345HTTP/1.1 200", head("Content-Length: 5\r\n"));
        assert_eq!(read(&talk(None, None), &text, false).2, Some("dup_bytes"));
    }

    #[test]
    fn an_answer_has_to_be_the_one_that_is_expected() {
        let sized = format!("{}12345", head("Content-Length: 5\r\n"));
        let failed = sized.replace("200 OK", "503 Sorry");
        let gone = sized.replace("200 OK", "404 Gone");
        for (status, body_bytes, text, harm) in [
            (None, None, &sized, None),
            (None, None, &failed, Some("bad_status")),
            (Some(404), None, &gone, None),
            (Some(404), None, &sized, Some("bad_status")),
            (None, Some(5), &sized, None),
            (None, Some(6), &sized, Some("lost_bytes")),
            (None, Some(4), &sized, Some("dup_bytes")),
            (None, None, &sized.replace("Served-By", "Other"), Some("corrupt")),
        ] {
            let (whole, _, is) = read(&talk(status, body_bytes), text, false);
            assert_eq!((whole, is), (true, harm), "{status:?} {body_bytes:?} {text:?}");
        }
    }
}
