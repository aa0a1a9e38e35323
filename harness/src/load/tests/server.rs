//! A server of every manner.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio::runtime::{Builder, Runtime};

/// How the server treats a connection that it has accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    Echo,
    /// Echoes without a greeting.
    Plain,
    /// Greets, and answers nothing.
    Deaf,
    /// Never says anything.
    Mute,
    /// Resets instead of greeting.
    ResetAtOnce,
    /// Resets when the first byte of a request comes.
    ResetRequest,
    /// Resets after half of the reply.
    ResetReply,
    /// Finishes instead of greeting.
    FinishAtOnce,
    /// Greets and finishes.
    FinishAfterGreeting,
    /// Greets and resets.
    ResetAfterGreeting,
    /// Says every byte of a reply twice.
    Double,
    /// Leaves out the first half of a reply.
    Hole,
    /// Turns bits over.
    Garble,
    /// Greets late.
    Late,
    /// Drops the reply of a client that has finished sending.
    Hasty,
}

#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    // Ends every connection and the listener when it is dropped.
    _runtime: Runtime,
}

pub(super) fn serve(manner: Manner) -> Server {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("test-server")
        .enable_all()
        .build()
        .unwrap();
    let listener = runtime.block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        socket.listen(4096).unwrap()
    });
    let address = listener.local_addr().unwrap();
    runtime.spawn(accept(listener, manner));
    Server { address, _runtime: runtime }
}

async fn accept(listener: TcpListener, manner: Manner) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(treat(stream, manner));
    }
}

/// A server at `path`.
pub(super) fn serve_unix(manner: Manner, path: &Path) -> Runtime {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let guard = runtime.enter();
    let listener = UnixListener::bind(path).unwrap();
    drop(guard);
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(treat(stream, manner));
        }
    });
    runtime
}

/// What a connection of either kind can do.
trait Stream: AsyncRead + AsyncWrite + AsFd + Unpin {}

impl<S: AsyncRead + AsyncWrite + AsFd + Unpin> Stream for S {}

#[expect(clippy::wildcard_enum_match_arm, reason = "each place has the few manners it is about")]
async fn treat(mut stream: impl Stream, manner: Manner) -> std::io::Result<()> {
    fn reset(stream: &impl AsFd) -> std::io::Result<()> {
        SockRef::from(stream).set_linger(Some(Duration::ZERO))
    }
    match manner {
        Manner::Mute => std::future::pending().await,
        Manner::ResetAtOnce => return reset(&stream),
        Manner::FinishAtOnce => return Ok(()),
        Manner::Late => tokio::time::sleep(Duration::from_millis(150)).await,
        _ => {}
    }
    if manner != Manner::Plain {
        stream.write_all(b"generation 3 pid 77\n").await?;
    }
    match manner {
        Manner::FinishAfterGreeting => return stream.shutdown().await,
        Manner::ResetAfterGreeting => return reset(&stream),
        _ => {}
    }
    let mut buffer = vec![0; 8192];
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return stream.shutdown().await;
        }
        let bytes = &mut buffer[..read];
        match manner {
            Manner::Deaf | Manner::Hasty => {}
            Manner::ResetRequest => return reset(&stream),
            Manner::ResetReply => {
                stream.write_all(&bytes[..read / 2]).await?;
                return reset(&stream);
            }
            Manner::Double => stream.write_all(&[&*bytes, &*bytes].concat()).await?,
            Manner::Hole => {
                stream.write_all(&bytes[read / 2..]).await?;
                return stream.shutdown().await;
            }
            Manner::Garble => {
                bytes[0] ^= 1;
                stream.write_all(bytes).await?;
            }
            _ => stream.write_all(bytes).await?,
        }
    }
}
