//! What becomes of a client: it is greeted, and gets back what it sends.
//! Nothing here knows of upgrades.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ecdysis::tokio_ecdysis::{Stoppable, UdpSink};
use futures::{SinkExt, Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixDatagram;
use tokio_seqpacket::UnixSeqpacket;

/// The largest datagram or packet that is understood.
const LONGEST: usize = 64 << 10;

/// Greets, and echoes bytes until the client has finished sending.
pub(crate) async fn bytes<C>(client: C, greeting: Arc<str>) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let (mut from, mut to) = tokio::io::split(client);
    to.write_all(greeting.as_bytes()).await?;
    tokio::io::copy(&mut from, &mut to).await?;
    to.shutdown().await
}

/// The same with packets.
pub(crate) async fn packets(client: UnixSeqpacket, greeting: Arc<str>) -> io::Result<()> {
    client.send(greeting.as_bytes()).await?;
    let mut packet = vec![0; LONGEST];
    loop {
        match client.recv(&mut packet).await? {
            0 => return client.shutdown(Shutdown::Write),
            count => client.send(&packet[..count]).await?,
        };
    }
}

/// Answers datagrams, each with a greeting and itself, until there are no more.
pub(crate) async fn datagrams(
    mut sink: UdpSink,
    mut stream: impl Stream<Item = io::Result<(BytesMut, SocketAddr)>> + Unpin,
    greeting: Arc<str>,
) {
    while let Some(Ok((datagram, client))) = stream.next().await {
        let answer = Bytes::from([greeting.as_bytes(), &datagram].concat());
        // A client that is gone is no reason to end.
        let _ = sink.send((answer, client)).await;
    }
}

/// The same, one call after the other.
pub(crate) async fn unix_datagrams(socket: Stoppable<UnixDatagram>, greeting: Arc<str>) {
    let mut datagram = vec![0; LONGEST];
    while let Some(Ok((count, client))) =
        socket.until_stopped(|socket| socket.recv_from(&mut datagram)).await
    {
        let answer = [greeting.as_bytes(), &datagram[..count]].concat();
        // One without a path cannot be answered.
        if let Some(path) = client.as_pathname() {
            let _ = socket.as_unstoppable_ref().send_to(&answer, path).await;
        }
    }
}
