//! Unix listeners.

use super::*;

/// A unix listener with a short queue, and clients that nobody has accepted.
struct Unix {
    listener: Socket,
    address: SockAddr,
    _dir: tempfile::TempDir,
}

impl Unix {
    fn new(kind: Type, backlog: i32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let address = SockAddr::unix(dir.path().join("s")).unwrap();
        let listener = Socket::new(Domain::UNIX, kind, None).unwrap();
        listener.bind(&address).unwrap();
        listener.listen(backlog).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self { listener, address, _dir: dir }
    }

    fn connect(&self) -> io::Result<Socket> {
        let client = Socket::new(Domain::UNIX, self.listener.r#type().unwrap(), None).unwrap();
        client.set_nonblocking(true).unwrap();
        client.connect(&self.address)?;
        client.set_nonblocking(false).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        Ok(client)
    }

    fn accept(&self) -> io::Result<Socket> {
        let (socket, _) = self.listener.accept()?;
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Ok(socket)
    }
}

#[test]
fn a_unix_listener_is_emptied_and_closed_without_a_reset() {
    for kind in [Type::STREAM, Type::SEQPACKET] {
        let unix = Unix::new(kind, 8);
        let clients = [(); 2].map(|()| unix.connect().unwrap());
        shrink_backlog(&unix.listener).unwrap();
        assert_eq!(unix.connect().unwrap_err().kind(), ErrorKind::WouldBlock);
        let accepted = [(); 2].map(|()| unix.accept().unwrap());
        assert_eq!(unix.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(unix);
        for (client, server) in clients.iter().zip(&accepted) {
            talk(client, server);
        }
    }
}

#[test]
fn closing_a_unix_listener_resets_whom_nobody_has_accepted() {
    for kind in [Type::STREAM, Type::SEQPACKET] {
        let unix = Unix::new(kind, 8);
        let mut client = unix.connect().unwrap();
        drop(unix);
        assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}

#[test]
fn a_shrunken_backlog_lets_one_in_when_nobody_waits() {
    let unix = Unix::new(Type::STREAM, 8);
    let clients = [(); 3].map(|()| unix.connect().unwrap());
    shrink_backlog(&unix.listener).unwrap();
    for client in &clients {
        assert_eq!(unix.connect().unwrap_err().kind(), ErrorKind::WouldBlock);
        talk(client, &unix.accept().unwrap());
    }
    let last = unix.connect().unwrap();
    assert_eq!(unix.connect().unwrap_err().kind(), ErrorKind::WouldBlock);
    talk(&last, &unix.accept().unwrap());
    unix.listener.listen(8).unwrap();
    let again = [(); 3].map(|()| unix.connect().unwrap());
    again.iter().for_each(|client| talk(client, &unix.accept().unwrap()));
}

#[test]
fn only_a_unix_listener_is_shrunk() {
    let tcp = tcp_listener(LOOPBACK[0]);
    let unbound = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    assert_eq!(errno(shrink_backlog(&tcp)), Some(libc::EOPNOTSUPP));
    assert_eq!(errno(shrink_backlog(&unbound)), Some(libc::EINVAL));
    connect(&tcp);
}
