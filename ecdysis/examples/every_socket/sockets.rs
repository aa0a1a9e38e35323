//! The steps: sockets are made or taken over, and let go of.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use ecdysis::tokio_ecdysis::{StopOnShutdown, TokioEcdysis};
use ecdysis::{Connections, UnixOptions};
use futures::{Stream, StreamExt};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use socket2::Socket;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clients::{bytes, datagrams, packets, unix_datagrams};
use crate::{parse, split, wrong};

const STOP: StopOnShutdown = StopOnShutdown::Yes;

/// What this process serves.
pub(crate) struct Server {
    /// What each client reads first.
    greeting: Arc<str>,
    connections: Connections,
    /// What accepts, by the step that has started it.
    loops: HashMap<OsString, JoinSet<()>>,
    leaving: watch::Sender<bool>,
}

impl Server {
    pub(crate) fn new(process: &TokioEcdysis) -> Self {
        let (generation, pid) = (process.generation(), std::process::id());
        Self {
            greeting: format!("generation {generation} pid {pid}\n").into(),
            connections: process.connections().clone(),
            loops: HashMap::new(),
            leaving: watch::Sender::default(),
        }
    }

    /// Takes one step.
    pub(crate) async fn take(&mut self, process: &TokioEcdysis, step: &OsStr) -> io::Result<()> {
        match split(step) {
            ("hold", socket) => self.open(process, socket, true)?,
            ("drop", socket) => {
                // The sockets are dropped with what accepts from them, and
                // nothing else keeps them.
                self.loops.remove(socket).ok_or_else(|| wrong(step))?.shutdown().await;
            }
            ("wait", fifo) => {
                println!("waits {step:?} pid={}", std::process::id());
                // We could write, too, so it does not end for want of a writer.
                let mut fifo = pipe::OpenOptions::new().read_write(true).open_receiver(fifo)?;
                fifo.read_u8().await?;
            }
            ("helper", command) => drop(Command::new("/bin/sh").arg("-c").arg(command).spawn()?),
            ("stray", path) => {
                // Never dropped, so it is open for as long as this process lives.
                let file: &'static fs::File = Box::leak(Box::new(fs::File::open(path)?));
                fcntl(file, FcntlArg::F_SETFD(FdFlag::empty()))?;
            }
            ("abort", _) => std::process::abort(),
            _ => self.open(process, step, false)?,
        }
        println!("done {step:?}");
        Ok(())
    }

    /// Makes a socket, or takes over the predecessor's. Which it is, only the
    /// library needs to know.
    fn open(&mut self, process: &TokioEcdysis, step: &OsStr, held: bool) -> io::Result<()> {
        let (kind, rest) = split(step);
        match kind {
            "tcp" => {
                let stream = process.listen_tcp(STOP, parse(rest)?)?;
                println!("bound {step:?} at {}", stream.local_addr()?);
                self.accept(step, stream, held, bytes);
            }
            "reuseport" => {
                let parts = rest.to_str().and_then(|rest| rest.split_once('*'));
                let (address, count) = parts.ok_or_else(|| wrong(step))?;
                for _ in 0..parse(count)? {
                    let stream = process.build_listen_tcp(STOP, parse(address)?, shared)?;
                    self.accept(step, stream, held, bytes);
                }
            }
            "unix" => self.accept(step, process.listen_unix(STOP, rest)?, held, bytes),
            "unix-mode" => {
                let (mode, path) = split(rest);
                let mode = u32::from_str_radix(mode, 8).map_err(|_| wrong(step))?;
                let options = UnixOptions::new().mode(mode);
                self.accept(step, process.listen_unix_with(STOP, path, &options)?, held, bytes);
            }
            "abstract" => {
                let stream = process.listen_unix_abstract(STOP, rest.as_bytes())?;
                self.accept(step, stream, held, bytes);
            }
            "seqpacket" => {
                self.accept(step, process.listen_unix_seqpacket(STOP, rest)?, held, packets);
            }
            "udp" => {
                let bind = |socket: Socket, address: SocketAddr| {
                    socket.bind(&address.into())?;
                    Ok(socket.into())
                };
                let (sink, stream) = process.build_framed_udp(STOP, parse(rest)?, bind)?;
                self.spawn(step, datagrams(sink, stream, Arc::clone(&self.greeting)));
            }
            "unix-datagram" => {
                let socket = process.unix_datagram(STOP, rest, &UnixOptions::new())?;
                self.spawn(step, unix_datagrams(socket, Arc::clone(&self.greeting)));
            }
            _ => return Err(wrong(step)),
        }
        Ok(())
    }

    /// Serves a stream of clients until it ends, each by a task that does `talk`.
    fn accept<S, C, F>(
        &mut self,
        step: &OsStr,
        mut stream: S,
        held: bool,
        talk: fn(C, Arc<str>) -> F,
    ) where
        S: Stream<Item = io::Result<C>> + Send + Unpin + 'static,
        C: Send + 'static,
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let (greeting, connections) = (Arc::clone(&self.greeting), self.connections.clone());
        let mut leaving = self.leaving.subscribe();
        self.spawn(step, async move {
            if held {
                // It fails if nobody can say so any more, and that is as good.
                let _ = leaving.wait_for(|leaving| *leaving).await;
            }
            while let Some(Ok(client)) = stream.next().await {
                let connection = connections.enter();
                let talk = talk(client, Arc::clone(&greeting));
                tokio::spawn(async move {
                    tokio::select! {
                        _ = talk => {}
                        () = connection.cut() => {}
                    }
                });
            }
        });
    }

    fn spawn(&mut self, step: &OsStr, task: impl Future<Output = ()> + Send + 'static) {
        self.loops.entry(step.to_owned()).or_default().spawn(task);
    }

    /// Waits until everything that accepts has accepted its last.
    pub(crate) async fn finish(self) {
        self.leaving.send_replace(true);
        for accepting in self.loops.into_values() {
            accepting.join_all().await;
        }
    }
}

/// A listener that lets others have its address, too.
fn shared(socket: Socket, address: SocketAddr) -> io::Result<std::net::TcpListener> {
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}
