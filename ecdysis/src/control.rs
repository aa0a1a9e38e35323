//! What is said over a control socket, and a client for it.
//!
//! Each way one line of JSON of at most [`LINE_MAX`] bytes, then nothing more:
//! `{"command":"status"}` to the server, an [`Answer`] to the client, and the
//! end of the stream. Whoever reads answers passes over members it does not
//! know, so a client may be older than the server.
//!
//! The same sockets serve clients of the published crate, which only connect:
//! see the builder's functions that make them.

use std::error::Error;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::error::UpgradeErrorKind;
use crate::report::UpgradeReport;

/// How long a request or an answer may be, in bytes, the newline not counted.
pub const LINE_MAX: usize = 64 * 1024;

/// What a client that said something else is told.
#[cfg(feature = "tokio_ecdysis")]
pub(crate) const ACCEPTED: &str = "accepted is one line of JSON of at most 65536 bytes, like \
     {\"command\":\"status\"}, where the command is status, upgrade, stop or drain";

const NO_ANSWER: &str = "sent something that is no answer";

/// What can be asked of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Command {
    /// Say how it is. Changes nothing.
    Status,
    /// Start a successor; answered when the outcome is certain.
    Upgrade,
    /// Stop the whole service; answered when the stop has begun.
    Stop,
    /// Stop on those sockets that stop on it (the published crate's partial
    /// stop); answered when that has begun.
    Drain,
}

/// A request, as it crosses. An unknown member is refused: it may restrict what
/// is asked, and a server that passes over that does what nobody wanted.
#[cfg(feature = "tokio_ecdysis")]
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    command: Command,
}

impl Command {
    /// Every command.
    pub const ALL: [Self; 4] = [Self::Status, Self::Upgrade, Self::Stop, Self::Drain];

    /// The command's name, as it crosses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Upgrade => "upgrade",
            Self::Stop => "stop",
            Self::Drain => "drain",
        }
    }

    /// The request for it, with its newline.
    fn to_line(self) -> Vec<u8> {
        format!("{{\"command\":\"{self}\"}}\n").into_bytes()
    }

    /// What a request asks for.
    #[cfg(feature = "tokio_ecdysis")]
    pub(crate) fn from_line(line: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(line).map(|request: Request| request.command)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a service answers. Made by the process that was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Answer {
    /// Whether what was asked has been done.
    pub ok: bool,
    /// What was asked, if it was understood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Command>,
    /// Why it has not been done, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What became of an upgrade.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<UpgradeAnswer>,
    /// How the service is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
}

impl Answer {
    /// Done.
    #[cfg(feature = "tokio_ecdysis")]
    pub(crate) fn done(command: Command) -> Self {
        Self { ok: true, command: Some(command), error: None, upgrade: None, status: None }
    }

    /// Not done, because of `error`.
    #[cfg(feature = "tokio_ecdysis")]
    pub(crate) fn refused(command: Option<Command>, error: impl Into<String>) -> Self {
        Self { ok: false, command, error: Some(error.into()), upgrade: None, status: None }
    }

    /// The answer as it crosses, with its newline.
    #[cfg(feature = "tokio_ecdysis")]
    pub(crate) fn to_line(&self) -> Vec<u8> {
        // What we are made of can always be written: no map has other keys than strings.
        let mut line = serde_json::to_vec(self).unwrap_or_else(|_| b"{\"ok\":false}".to_vec());
        line.push(b'\n');
        line
    }
}

/// What became of an upgrade.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UpgradeAnswer {
    /// How it ended.
    pub outcome: Outcome,
    /// The generation that the successor was to be.
    #[serde(default)]
    pub generation: u64,
    /// The process id of the process that was to be succeeded.
    #[serde(default)]
    pub predecessor: u32,
    /// The process id of the successor, if it was started at all.
    #[serde(default)]
    pub successor: Option<u32>,
    /// From the beginning of the upgrade, for which a request may have had to wait,
    /// until the successor had been started, in microseconds.
    #[serde(default)]
    pub started_us: Option<u64>,
    /// From the beginning until the successor was ready and its predecessor had
    /// stopped accepting, in microseconds.
    #[serde(default)]
    pub handed_off_us: Option<u64>,
    /// From the beginning until the outcome was certain, in microseconds.
    #[serde(default)]
    pub decided_us: Option<u64>,
    /// Why it did not complete, in words.
    #[serde(default)]
    pub error: Option<String>,
}

/// How an upgrade ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// The successor serves.
    Completed,
    /// The successor never served; its predecessor serves on.
    Failed,
    /// The successor had begun to serve and ended; its predecessor serves again.
    RolledBack,
    /// It was left to the next generation, which has not said how it ended.
    PassedOn,
    /// A stop was asked for meanwhile.
    Stopped,
    /// A later version of this library has a word for it that this one does
    /// not know.
    #[serde(other)]
    Unknown,
}

/// How a service is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Status {
    /// The process id of the process that answers.
    pub pid: u32,
    /// Its generation.
    pub generation: u64,
    /// Where it stands between its start and its end, in a word.
    pub phase: String,
    /// The connections it has in flight.
    pub connections: u64,
    /// Older generations that still finish the connections they have.
    pub draining: Vec<DrainingProcess>,
    /// What was counted, by name. Free in form: a later version counts more.
    pub counters: serde_json::Value,
    /// The version of this library in the process that answers.
    pub version: String,
}

/// A process that finishes the connections it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DrainingProcess {
    /// Its generation.
    pub generation: u64,
    /// Its process id.
    pub pid: u32,
}

impl From<&UpgradeReport> for Answer {
    fn from(report: &UpgradeReport) -> Self {
        let microseconds = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let outcome = match report.outcome.as_ref().map_err(|error| error.kind()) {
            Ok(()) => Outcome::Completed,
            Err(UpgradeErrorKind::RolledBack(_)) => Outcome::RolledBack,
            Err(UpgradeErrorKind::PassedOn) => Outcome::PassedOn,
            Err(UpgradeErrorKind::Stopped | UpgradeErrorKind::Stopping) => Outcome::Stopped,
            Err(
                UpgradeErrorKind::Start { .. }
                | UpgradeErrorKind::Exited(_)
                | UpgradeErrorKind::Deadline(_)
                | UpgradeErrorKind::ReadyPipeClosed
                | UpgradeErrorKind::Garbage
                | UpgradeErrorKind::State
                | UpgradeErrorKind::TooManySockets(_)
                | UpgradeErrorKind::Succeeded
                | UpgradeErrorKind::InHook
                | UpgradeErrorKind::System,
            ) => Outcome::Failed,
        };
        Self {
            ok: report.outcome.is_ok(),
            command: Some(Command::Upgrade),
            error: report.outcome.is_err().then(|| report.to_string()),
            upgrade: Some(UpgradeAnswer {
                outcome,
                generation: report.generation,
                predecessor: report.predecessor,
                successor: report.successor,
                started_us: report.started.map(microseconds),
                handed_off_us: report.handed_off.map(microseconds),
                decided_us: Some(microseconds(report.decided)),
                error: report.outcome.as_ref().err().map(ToString::to_string),
            }),
            status: None,
        }
    }
}

/// Asks the service whose control socket is at `path`, and waits for its
/// answer, all in all for no longer than `patience`. An upgrade is answered
/// when it is over, so it takes the patience that the service has with its
/// successors (a minute, unless set).
///
/// On a socket of a server that is built on the published crate, to connect is
/// the command, whatever is asked. It never answers, it only closes.
///
/// # Errors
/// Those of connect(2). `TimedOut`: no answer in time; what was asked may
/// happen yet. `UnexpectedEof`: the connection was closed without an answer.
/// `InvalidData`: what came is no answer. The message names the path.
pub fn request(path: &Path, command: Command, patience: Duration) -> io::Result<Answer> {
    let line = request_line(path, command, patience)?;
    serde_json::from_str(&line).map_err(|error| failure(path, NO_ANSWER, error.into()))
}

/// The same, for who wants the answer's line as it came, with what this version
/// does not know in it.
///
/// # Errors
/// As in [`request`].
pub fn request_line(path: &Path, command: Command, patience: Duration) -> io::Result<String> {
    let deadline = now().checked_add(patience);
    let mut stream =
        connect(path, deadline).map_err(|error| failure(path, "cannot be connected to", error))?;
    // A failed write shows in the read as well, unless it does not matter: who
    // refuses us may have answered, and closed, before we asked.
    let _ = stream.write_all(&command.to_line()).and_then(|()| stream.shutdown(Shutdown::Write));
    let line = read_line(&mut stream, deadline).map_err(|error| {
        let what = if error.kind() == io::ErrorKind::UnexpectedEof {
            "closed the connection without an answer"
        } else if error.kind() == io::ErrorKind::InvalidData {
            NO_ANSWER
        } else {
            "gave no answer"
        };
        failure(path, what, error)
    })?;
    String::from_utf8(line).map_err(|error| {
        failure(path, NO_ANSWER, io::Error::new(io::ErrorKind::InvalidData, error))
    })
}

/// A connection to the socket at `path`. If its queue is full, waits until the
/// deadline: connect(2) heeds the send timeout, as socket(7) has it.
fn connect(path: &Path, deadline: Option<Instant>) -> io::Result<UnixStream> {
    // With a null byte in it, it would be another path, or none.
    UnixAddr::from_pathname(path)?;
    let address = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    loop {
        socket.set_write_timeout(left(deadline)?)?;
        match socket.connect(&address) {
            Ok(()) => return Ok(OwnedFd::from(socket).into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(error) => return Err(error),
        }
    }
}

/// What comes before the first newline, or before the end if there is none.
fn read_line(stream: &mut UnixStream, deadline: Option<Instant>) -> io::Result<Vec<u8>> {
    let (mut line, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        stream.set_read_timeout(left(deadline)?)?;
        let count = match stream.read(&mut chunk) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            // A peer that closes without having read what we sent resets.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
            Err(error) => return Err(error),
        };
        let seen = line.len();
        line.extend_from_slice(&chunk[..count]);
        let newline = line[seen..].iter().position(|byte| *byte == b'\n').map(|at| seen + at);
        if newline.unwrap_or(line.len()) > LINE_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if let Some(end) = newline {
            line.truncate(end);
            return Ok(line);
        }
        if count == 0 {
            let nothing = || Err(io::ErrorKind::UnexpectedEof.into());
            return if line.is_empty() { nothing() } else { Ok(line) };
        }
    }
}

/// The time that is left; without end, if there is no deadline.
fn left(deadline: Option<Instant>) -> io::Result<Option<Duration>> {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(now()));
    // To the kernel a timeout of zero is none.
    if left.is_some_and(|left| left.as_micros() == 0) {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(left)
}

#[expect(clippy::disallowed_methods, reason = "the face that waits for an answer")]
fn now() -> Instant {
    Instant::now()
}

/// What went wrong with which socket.
#[derive(Debug)]
struct Failure {
    path: PathBuf,
    what: &'static str,
    source: io::Error,
}

fn failure(path: &Path, what: &'static str, source: io::Error) -> io::Error {
    io::Error::new(source.kind(), Failure { path: path.to_owned(), what, source })
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "control socket {} {}: {}", self.path.display(), self.what, self.source)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

// The server's half of the protocol comes with Tokio.
#[cfg(feature = "tokio_ecdysis")]
#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use tempfile::TempDir;

    use super::*;
    use crate::error::UpgradeError;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// Asks for the status of a server that does `serve` with the connection.
    fn ask(serve: impl FnOnce(UnixStream) + Send) -> io::Result<Answer> {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("control");
        let listener = UnixListener::bind(&path).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| serve(listener.accept().unwrap().0));
            request(&path, Command::Status, PATIENCE)
        })
    }

    /// Reads the request to its end, so that closing resets nothing.
    fn read(stream: &UnixStream) -> String {
        io::read_to_string(stream).unwrap()
    }

    #[test]
    fn a_request_is_what_the_server_reads() {
        for command in Command::ALL {
            assert_eq!(Command::from_line(&command.to_line()).unwrap(), command);
        }
        assert!(ACCEPTED.contains(&format!("{LINE_MAX} bytes")));
        assert!(Command::ALL.iter().all(|command| ACCEPTED.contains(command.name())));
    }

    #[test]
    fn a_request_with_an_unknown_restriction_is_refused() {
        assert!(Command::from_line(br#"{"command":"upgrade","dry_run":true}"#).is_err());
        assert!(Command::from_line(br#"{"command":"rollback"}"#).is_err());
        assert!(Command::from_line(br#"{"command":"status"} {"command":"stop"}"#).is_err());
    }

    #[test]
    fn an_answer_survives_the_way_and_a_newer_server() {
        let status = Status { pid: 7, phase: "serving".to_owned(), ..Status::default() };
        let sent = Answer { status: Some(status), ..Answer::done(Command::Status) };
        let line = sent.to_line();
        assert_eq!(ask(|mut stream| stream.write_all(&line).unwrap()).unwrap(), sent);
        let newer = br#"{"ok":true,"command":"upgrade","mood":"good","upgrade":{"outcome":
            "handed_back","generation":3,"weather":{}},"status":{"pid":7,"load":[1,2]}}"#;
        let newer = newer.map(|byte| if byte == b'\n' { b' ' } else { byte });
        let answer = ask(|mut stream| {
            stream.write_all(&newer).unwrap();
            // No newline: the end ends the line as well.
        });
        let answer = answer.unwrap();
        assert_eq!(answer.upgrade.unwrap().outcome, Outcome::Unknown);
        assert_eq!(answer.status.unwrap().pid, 7);
    }

    #[test]
    fn the_request_is_one_line_and_then_the_end() {
        let answer = ask(|mut stream| {
            assert_eq!(read(&stream), "{\"command\":\"status\"}\n");
            stream.write_all(&Answer::done(Command::Status).to_line()).unwrap();
        });
        assert!(answer.unwrap().ok);
    }

    #[test]
    fn closing_without_an_answer_is_reported_as_such() {
        // Unread input makes it a reset; it is the same to whoever asked.
        for serve in [drop, |stream| drop(read(&stream))] {
            let error = ask(serve).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
            let text = error.to_string();
            assert!(text.contains("/control closed the connection without an answer"), "{text}");
        }
    }

    #[test]
    fn an_answer_given_before_the_question_is_read() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("control");
        let listener = UnixListener::bind(&path).unwrap();
        let deadline = now().checked_add(PATIENCE);
        let mut stream = connect(&path, deadline).unwrap();
        let (mut served, _) = listener.accept().unwrap();
        served.write_all(b"{}\n").unwrap();
        // Not dropped: a process that another test is starting may hold a copy
        // of it until its exec.
        served.shutdown(Shutdown::Both).unwrap();
        let refused = stream.write_all(&Command::Status.to_line()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(read_line(&mut stream, deadline).unwrap(), b"{}");
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for garbage in ["hello\n", "{}\n", "\n", "{\"ok\":tr", "\u{0}"] {
            let error = ask(|mut stream| stream.write_all(garbage.as_bytes()).unwrap());
            let error = error.unwrap_err();
            assert!(error.to_string().contains("/control sent something"), "{garbage}: {error}");
        }
        // As long as may be, and a byte longer.
        let line = |length: usize| {
            let mut line = b"{\"ok\":true}".to_vec();
            line.resize(length, b' ');
            line
        };
        assert!(ask(|mut stream| stream.write_all(&line(LINE_MAX)).unwrap()).unwrap().ok);
        let error = ask(|mut stream| drop(stream.write_all(&line(LINE_MAX + 1)))).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn patience_ends_whatever_the_server_does() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("control");
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        listener.listen(0).unwrap();
        // The first stays in the queue and is not read; the second finds no room.
        for what in ["gave no answer", "cannot be connected to"] {
            let error = request(&path, Command::Status, Duration::from_millis(20)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
            assert!(error.to_string().contains(what), "{error}");
        }
        assert_eq!(
            request(&path, Command::Status, Duration::ZERO).unwrap_err().kind(),
            io::ErrorKind::TimedOut
        );
    }

    #[test]
    fn a_missing_socket_is_named() {
        let error = request(Path::new("/nowhere/control"), Command::Stop, PATIENCE).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("/nowhere/control"), "{error}");
    }

    #[test]
    fn a_path_with_a_null_byte_is_not_cut_to_another() {
        let dir = TempDir::new().unwrap();
        let _listener = UnixListener::bind(dir.path().join("control")).unwrap();
        for path in [dir.path().join("control\0of another"), PathBuf::from("\0abstract")] {
            let error = request(&path, Command::Stop, Duration::from_millis(20)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        }
    }

    #[test]
    fn reports_become_answers() {
        let report = |outcome| UpgradeReport {
            handed_off: Some(Duration::from_millis(2)),
            outcome,
            ..UpgradeReport::not_started(4, UpgradeErrorKind::System.into())
        };
        let answer = Answer::from(&report(Ok(())));
        assert!(answer.ok && answer.error.is_none());
        let upgrade = answer.upgrade.unwrap();
        assert_eq!((upgrade.outcome, upgrade.generation), (Outcome::Completed, 5));
        assert_eq!((upgrade.started_us, upgrade.handed_off_us), (None, Some(2000)));
        let answer = Answer::from(&report(Err(UpgradeError::new(UpgradeErrorKind::Stopped))));
        assert!(!answer.ok && answer.error.is_some());
        assert_eq!(answer.upgrade.unwrap().outcome, Outcome::Stopped);
    }
}
