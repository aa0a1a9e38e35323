//! What whoever asks for an upgrade is told.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::clock::now;
use crate::peer::{CONTROL, MASTER, Peer, Teller};
use crate::service::Service;

/// Beyond this, nobody waits.
pub(crate) const PATIENCE: Duration = Duration::from_secs(8);

const FRAME: &[u8] = br#"{"Request":"TryRestart"}"#;

/// What came back.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) after: Duration,
    /// Whether it said that the upgrade succeeded or failed, if it said either.
    pub(crate) succeeded: Option<bool>,
    /// In its own words, shortened.
    pub(crate) words: String,
}

/// What the server has to be started with so that it can be asked.
pub(crate) fn options(peer: &Peer) -> Vec<String> {
    match peer.teller {
        Teller::Line { socket: CONTROL, .. } | Teller::Frame => {
            vec![format!("control={{dir}}/{CONTROL}")]
        }
        Teller::Line { .. } | Teller::Status | Teller::Nobody => Vec::new(),
    }
}

/// Asks for an upgrade, and waits for an answer. `None`: there is nobody to ask.
pub(crate) fn upgrade(service: &Service<'_>) -> io::Result<Option<Told>> {
    let asked = now();
    let answer = match service.peer.teller {
        Teller::Nobody => return Ok(None),
        Teller::Status => {
            let mut command = Command::new(service.program());
            command.arg("-p").arg(&service.directory).args(["-c", "nginx.conf", "-s", "reload"]);
            let status = command.stdin(Stdio::null()).stderr(Stdio::null()).status();
            status.map(|status| status.to_string())
        }
        Teller::Line { socket, says } => exchange(&service.directory.join(socket), says),
        Teller::Frame => frame(&service.directory.join(CONTROL)),
    };
    let after = asked.elapsed();
    let place = service.directory.display().to_string();
    let answer = answer.map(|words| words.replace(&place, "…"));
    let words = answer.unwrap_or_else(|error| {
        let late = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        if late { format!("nothing within {PATIENCE:?}") } else { format!("nothing ({error})") }
    });
    Ok(Some(Told { after, succeeded: verdict(&words), words }))
}

/// Waits until a master hears what it is told: HAProxy's worker serves before its
/// master does, and a signal that comes before that is lost.
pub(crate) fn await_master(service: &Service<'_>) -> io::Result<()> {
    let Teller::Line { socket: MASTER, .. } = service.peer.teller else { return Ok(()) };
    let begun = now();
    loop {
        let answer = connect(&service.directory.join(MASTER)).and_then(|mut socket| {
            socket.write_all(b"show proc\n")?;
            socket.read_exact(&mut [0])
        });
        match answer {
            Err(error) if begun.elapsed() > PATIENCE => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(1)),
            Ok(()) => return Ok(()),
        }
    }
}

/// Says something, and reads to the end.
fn exchange(path: &Path, request: &str) -> io::Result<String> {
    let mut socket = connect(path)?;
    socket.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).trim().to_owned())
}

/// The same in frames that begin with their length.
fn frame(path: &Path) -> io::Result<String> {
    let mut socket = connect(path)?;
    let length = u32::try_from(FRAME.len()).map_err(io::Error::other)?;
    socket.write_all(&[&length.to_be_bytes(), FRAME].concat())?;
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let mut answer =
        vec![0; usize::try_from(u32::from_be_bytes(length)).map_err(io::Error::other)?];
    socket.read_exact(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn connect(path: &Path) -> io::Result<UnixStream> {
    let socket = UnixStream::connect(path)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn verdict(words: &str) -> Option<bool> {
    let says = |word: &str| words.contains(word);
    if says("\"ok\":true") || says("RestartComplete") || says("Success=1") {
        Some(true)
    } else if says("\"ok\":false") || says("RestartFailed") || says("Success=0") {
        Some(false)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_says_so_has_said_so() {
        assert_eq!(verdict(r#"{"ok":true,"command":"upgrade"}"#), Some(true));
        assert_eq!(verdict(r#"{"Response":{"RestartFailed":"EOF"}}"#), Some(false));
        assert_eq!(verdict(""), None);
        assert_eq!(verdict("exit status: 0"), None);
    }
}
