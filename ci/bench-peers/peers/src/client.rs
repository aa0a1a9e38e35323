//! One client of one server, that waits for each answer.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};

use crate::peer::Speaks;

/// Longer than a lost SYN takes to be sent again.
const PATIENCE: Duration = Duration::from_secs(4);

const HEAD: &[u8] = b"HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// The pid that answers a new connection.
pub(crate) fn ask(address: SocketAddr, speaks: Speaks) -> io::Result<u32> {
    let mut socket = connect(address)?;
    let end: &[u8] = match speaks {
        Speaks::Echo => b"\n",
        Speaks::Http => {
            socket.write_all(HEAD)?;
            b"\r\n\r\n"
        }
    };
    let mut text = Vec::with_capacity(512);
    let mut buffer = [0; 512];
    while !text.ends_with(end) {
        match socket.read(&mut buffer)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            n => text.extend_from_slice(&buffer[..n]),
        }
    }
    pid_in(&String::from_utf8_lossy(&text)).ok_or_else(|| ErrorKind::InvalidData.into())
}

/// A connection that is closed by a reset: tens of thousands of connections in
/// TIME_WAIT would run this client out of ports.
pub(crate) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&address, PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_nodelay(true)?;
    setsockopt(&socket, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 })?;
    Ok(socket)
}

/// The pid in a greeting, or in the head of an answer.
fn pid_in(text: &str) -> Option<u32> {
    let header = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("x-served-by").then_some(value)
    });
    let greeting = || text.strip_prefix("generation ")?.split_once(" pid ").map(|(_, pid)| pid);
    header.or_else(greeting)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pid_is_found_in_greetings_and_in_headers() {
        assert_eq!(pid_in("generation 7 pid 42\n"), Some(42));
        assert_eq!(pid_in("HTTP/1.1 200 OK\r\nX-Served-By: 43\r\n\r\n"), Some(43));
        assert_eq!(pid_in("HTTP/1.1 200 OK\r\nServer: pid 43\r\n\r\n"), None);
    }
}
