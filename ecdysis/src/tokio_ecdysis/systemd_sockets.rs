//! Sockets that systemd has bound, as streams.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;

use futures::StreamExt;
use tokio::net::UdpSocket;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tokio_util::codec::BytesCodec;
use tokio_util::udp::UdpFramed;

use super::process::{TokioEcdysis, UdpStream};
use super::seqpacket::UnixSeqpacketListenerStream;
use super::stream::{StopOnShutdown, StoppableStream};
use crate::listed::Manner;
use crate::registry::Registration;
use crate::socket::SocketKey;
use crate::systemd::sockets::{Bound, SystemdSocketError, SystemdSockets, SystemdSocketsReadError};

/// Sockets of a `.socket` unit. None of these functions makes a socket: in the
/// process that systemd has started, each finds the one that has this name
/// (`FileDescriptorName=`) and is bound to this address; in a successor, the one
/// that the predecessor had found. systemd keeps these sockets too: closing one
/// resets nobody and refuses nobody, and they are not emptied on a stop.
impl TokioEcdysis {
    /// Takes over what systemd has passed to this process. To be called once,
    /// first of all. In a successor it does nothing. What nobody has asked for by
    /// the time of `ready` is closed.
    ///
    /// # Errors
    /// What is wrong with the variables that systemd sets (sd_listen_fds(3)).
    pub fn read_systemd_sockets(&mut self) -> Result<(), SystemdSocketsReadError> {
        if self.is_child() {
            return Ok(());
        }
        if self.systemd_sockets.is_some() {
            return Err(SystemdSocketsReadError::DuplicateSystemdSocketsRead);
        }
        let lookup = |name: &str| std::env::var_os(name);
        self.systemd_sockets = Some(SystemdSockets::read(lookup, std::process::id())?);
        Ok(())
    }

    /// The unix stream listener with this name and path.
    ///
    /// # Errors
    /// There is no such socket, or it is something else; those of fcntl(2).
    #[expect(clippy::unused_async, reason = "the published crate's is")]
    pub async fn systemd_listen_unix<P: AsRef<Path> + Debug>(
        &self,
        stop: StopOnShutdown,
        name: String,
        path: P,
    ) -> Result<StoppableStream<UnixListenerStream>, SystemdSocketError> {
        let path = Some(path.as_ref().to_owned());
        let bound = Bound::Unix(path.clone());
        let (socket, registration) = self.given(&name, &bound, SocketKey::Unix { path })?;
        Ok(self.unix_stream(stop, (socket.into(), registration))?)
    }

    /// The unix seqpacket listener with this name and path.
    ///
    /// # Errors
    /// As with [`Self::systemd_listen_unix`].
    #[expect(clippy::unused_async, reason = "the published crate's is")]
    pub async fn systemd_listen_unix_seqpacket<P: AsRef<Path> + Debug>(
        &self,
        stop: StopOnShutdown,
        name: String,
        path: P,
    ) -> Result<StoppableStream<UnixSeqpacketListenerStream>, SystemdSocketError> {
        let path = Some(path.as_ref().to_owned());
        let bound = Bound::UnixSeqpacket(path.clone());
        let key = SocketKey::UnixSeqpacket { path };
        let (socket, registration) = self.given(&name, &bound, key)?;
        Ok(self.seqpacket_stream(stop, socket, registration)?)
    }

    /// The TCP listener with this name and address.
    ///
    /// # Errors
    /// As with [`Self::systemd_listen_unix`].
    #[expect(clippy::unused_async, reason = "the published crate's is")]
    pub async fn systemd_listen_tcp(
        &self,
        stop: StopOnShutdown,
        name: String,
        address: SocketAddr,
    ) -> Result<StoppableStream<TcpListenerStream>, SystemdSocketError> {
        let key = SocketKey::tcp(address);
        let (socket, registration) = self.given(&name, &Bound::Tcp(address), key)?;
        Ok(self.tcp_stream(stop, (socket.into(), registration))?)
    }

    /// The UDP socket with this name and address. Nothing keeps it from being
    /// read before this process serves; see [`Self::systemd_stream_udp`].
    ///
    /// # Errors
    /// As with [`Self::systemd_listen_unix`].
    #[expect(clippy::unused_async, reason = "the published crate's is")]
    pub async fn systemd_socket_udp(
        &self,
        name: String,
        address: SocketAddr,
    ) -> Result<UdpSocket, SystemdSocketError> {
        let (socket, registration) = self.given_udp(&name, address)?;
        registration.keep();
        Ok(socket)
    }

    /// The datagrams that come to the UDP socket with this name and address.
    ///
    /// # Errors
    /// As with [`Self::systemd_listen_unix`].
    #[expect(clippy::unused_async, reason = "the published crate's is")]
    pub async fn systemd_stream_udp(
        &self,
        stop: StopOnShutdown,
        name: String,
        address: SocketAddr,
    ) -> Result<StoppableStream<UdpStream>, SystemdSocketError> {
        let (socket, registration) = self.given_udp(&name, address)?;
        let (_sink, stream) =
            UdpFramed::new(socket, BytesCodec::new()).split::<(bytes::Bytes, SocketAddr)>();
        Ok(StoppableStream::new(stream, registration, &self.ecdysis, stop))
    }

    fn given_udp(
        &self,
        name: &str,
        address: SocketAddr,
    ) -> Result<(UdpSocket, Registration), SystemdSocketError> {
        let key = SocketKey::udp(address);
        let (socket, registration) = self.given(name, &Bound::Udp(address), key)?;
        registration.listed.decide(Manner::NonBlocking)?;
        Ok((UdpSocket::from_std(socket.into())?, registration))
    }

    fn given(
        &self,
        name: &str,
        bound: &Bound,
        key: SocketKey,
    ) -> Result<(OwnedFd, Registration), SystemdSocketError> {
        if self.is_child() {
            let Some((socket, registration)) = self.ecdysis.registry.claim(&key)? else {
                let asked = bound.to_string();
                return Err(SystemdSocketError::SocketNotFoundInChildRegistry(asked));
            };
            registration.listed.lend();
            return Ok((socket, registration));
        }
        let Some(sockets) = &self.systemd_sockets else {
            return Err(SystemdSocketError::SystemdSocketsNotInitialized);
        };
        let socket = sockets.take(name, bound)?;
        let registration = self.ecdysis.registry.enter(key, &socket, None, true)?;
        Ok((socket, registration))
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::ecdysis::Ecdysis;
    use crate::manifest::Passed;
    use crate::registry::Registry;

    /// A predecessor that runs the published crate cannot say that a socket is
    /// systemd's, and so its file was removed, and its queue emptied, at a stop.
    #[tokio::test]
    async fn a_socket_of_systemd_is_lent_whatever_the_predecessor_has_said() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let key = SocketKey::Unix { path: Some(path.clone()) };
        let mut ecdysis = Ecdysis::from_environment(|_| None).unwrap();
        let inode = Some(crate::unix_path::inode_of(&path).unwrap());
        let passed = Passed { inode, ..Passed::new(9, key) };
        ecdysis.registry = Registry::inheriting(vec![(passed, socket.into())]);
        ecdysis.is_child = true;
        let (asks, _calls) = mpsc::unbounded_channel();
        let process = TokioEcdysis { ecdysis, asks, systemd_sockets: None };
        let stream = process.systemd_listen_unix(StopOnShutdown::Yes, "web".to_owned(), &path);
        let stream = stream.await.unwrap();
        assert!(process.ecdysis.registry.export()[0].passed_as(9).lent);
        process.ecdysis.quit();
        drop((stream, process));
        assert!(path.exists());
    }
}
