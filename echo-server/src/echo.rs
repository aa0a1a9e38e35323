//! What becomes of a client, whatever it comes by: it is greeted, and gets back
//! what it sends. Nothing here knows of upgrades.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ecdysis::tokio_ecdysis::UdpSink;
use futures::{SinkExt, Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_seqpacket::UnixSeqpacket;

use crate::ledger::Ledger;

/// The largest packet that is understood; what is longer comes back cut off.
const LARGEST_PACKET: usize = 64 << 10;

/// What all clients share.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    /// What each is told first, if anything.
    pub(crate) greeting: Option<Arc<[u8]>>,
    /// Where it is counted.
    pub(crate) ledger: Arc<Ledger>,
}

/// Greets, echoes until the client has finished sending, and finishes too.
///
/// # Errors
/// Those of reading and writing; the connection is over then.
pub(crate) async fn bytes<C>(mut client: C, service: Service) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let Service { greeting, ledger } = service;
    if let Some(greeting) = greeting {
        client.write_all(&greeting).await?;
        ledger.wrote(greeting.len());
    }
    let mut buffer = vec![0; 16 * 1024];
    let mut first = true;
    loop {
        let count = client.read(&mut buffer).await?;
        if count == 0 {
            return client.shutdown().await;
        }
        ledger.read(count, std::mem::take(&mut first));
        client.write_all(&buffer[..count]).await?;
        ledger.wrote(count);
    }
}

/// The same with packets.
///
/// # Errors
/// As there.
pub(crate) async fn packets(client: UnixSeqpacket, service: Service) -> io::Result<()> {
    let Service { greeting, ledger } = service;
    if let Some(greeting) = greeting {
        ledger.wrote(client.send(&greeting).await?);
    }
    let mut packet = vec![0; LARGEST_PACKET];
    let mut first = true;
    loop {
        let count = client.recv(&mut packet).await?;
        if count == 0 {
            return client.shutdown(Shutdown::Write);
        }
        ledger.read(count, std::mem::take(&mut first));
        ledger.wrote(client.send(&packet[..count]).await?);
    }
}

/// Answers each datagram with the greeting and itself, until there are no more.
pub(crate) async fn datagrams(
    mut sink: UdpSink,
    mut stream: impl Stream<Item = io::Result<(BytesMut, SocketAddr)>> + Unpin,
    service: Service,
) {
    let greeting = service.greeting.unwrap_or_default();
    while let Some(Ok((datagram, client))) = stream.next().await {
        service.ledger.read_datagram();
        let answer = Bytes::from([&*greeting, &datagram].concat());
        // A client that cannot be answered is no reason to end.
        if sink.send((answer, client)).await.is_ok() {
            service.ledger.sent_datagram();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> (Service, Arc<Ledger>) {
        let ledger = Arc::new(Ledger::new(3));
        let greeting = Some(b"hello\n".as_slice().into());
        (Service { greeting, ledger: Arc::clone(&ledger) }, ledger)
    }

    #[tokio::test]
    async fn every_byte_comes_back_and_is_counted() {
        let (mut client, server) = tokio::io::duplex(64);
        let (service, ledger) = service();
        let payload = vec![7; 100_000];
        let serve = bytes(server, service);
        let drive = async {
            let (mut read, mut write) = tokio::io::split(&mut client);
            let send = async {
                write.write_all(&payload).await.unwrap();
                write.shutdown().await.unwrap();
            };
            let mut got = Vec::new();
            let (_, received) = tokio::join!(send, read.read_to_end(&mut got));
            received.unwrap();
            got
        };
        let (served, got) = tokio::join!(serve, drive);
        served.unwrap();
        assert_eq!(got, [b"hello\n".as_slice(), &payload].concat());
        let account = ledger.account();
        assert_eq!(
            (account.first_read, account.bytes_in, account.bytes_out),
            (1, 100_000, 100_006)
        );
    }

    #[tokio::test]
    async fn packets_come_back_as_they_were() {
        let (client, server) = UnixSeqpacket::pair().unwrap();
        let (service, ledger) = service();
        let drive = async {
            let mut packet = vec![0; LARGEST_PACKET];
            let mut got = Vec::new();
            for size in [0, 1, LARGEST_PACKET] {
                if size > 0 {
                    client.send(&vec![7; size]).await.unwrap();
                }
                got.push(client.recv(&mut packet).await.unwrap());
            }
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(client.recv(&mut packet).await.unwrap(), 0);
            got
        };
        let (served, got) = tokio::join!(packets(server, service), drive);
        served.unwrap();
        assert_eq!(got, [6, 1, LARGEST_PACKET]);
        let account = ledger.account();
        assert_eq!((account.first_read, account.bytes_in, account.bytes_out), (1, 65_537, 65_543));
    }
}
