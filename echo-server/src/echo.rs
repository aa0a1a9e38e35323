//! One connection.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::ledger::Ledger;

/// Greets, echoes until the client has finished sending, and finishes too.
///
/// # Errors
/// Those of reading and writing; the connection is over then.
pub(crate) async fn echo(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    greeting: Option<&[u8]>,
    ledger: &Ledger,
) -> io::Result<()> {
    if let Some(greeting) = greeting {
        stream.write_all(greeting).await?;
        ledger.wrote(greeting.len());
    }
    let mut buffer = vec![0; 16 * 1024];
    let mut first = true;
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return stream.shutdown().await;
        }
        ledger.read(count, std::mem::take(&mut first));
        stream.write_all(&buffer[..count]).await?;
        ledger.wrote(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_byte_comes_back_and_is_counted() {
        let (mut client, server) = tokio::io::duplex(64);
        let ledger = Ledger::new(3);
        let payload = vec![7; 100_000];
        let serve = echo(server, Some(b"hello\n"), &ledger);
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
}
