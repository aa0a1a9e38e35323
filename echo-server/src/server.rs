//! The server: a function of a stream of connections. It knows nothing of
//! upgrades; when the stream ends, it has accepted its last.

use std::io;
use std::sync::Arc;

use ecdysis::Connections;
use futures::{Stream, StreamExt};

use crate::echo::Service;

/// Serves every client of the stream by `talk`, until the stream ends; the
/// clients may take longer.
pub(crate) async fn serve<S, C, F>(
    mut stream: S,
    talk: fn(C, Service) -> F,
    service: Service,
    connections: Connections,
) where
    S: Stream<Item = io::Result<C>> + Unpin,
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    while let Some(Ok(client)) = stream.next().await {
        service.ledger.accepted();
        let talk = talk(client, service.clone());
        let (connection, ledger) = (connections.enter(), Arc::clone(&service.ledger));
        tokio::spawn(async move {
            let clean = tokio::select! {
                finished = talk => finished.is_ok(),
                () = connection.cut() => false,
            };
            ledger.closed(clean);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ecdysis::tokio_ecdysis::{DrainOptions, drain};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;
    use crate::echo::bytes;
    use crate::ledger::Ledger;

    async fn serving() -> (DuplexStream, Connections, Arc<Ledger>) {
        let (mut client, server) = duplex(64);
        let (connections, ledger) = (Connections::default(), Arc::new(Ledger::new(0)));
        let stream = futures::stream::iter([Ok(server)]);
        let service = Service { greeting: None, ledger: Arc::clone(&ledger) };
        serve(stream, bytes, service, connections.clone()).await;
        client.write_all(b"x").await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'x');
        (client, connections, ledger)
    }

    #[tokio::test]
    async fn a_connection_that_finishes_is_closed_clean() {
        let (mut client, connections, ledger) = serving().await;
        client.shutdown().await.unwrap();
        let drained = drain(&connections, &DrainOptions::default()).await;
        assert!(drained.is_clean());
        assert_eq!((ledger.account().closed_clean, ledger.account().closed_dirty), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_outlasts_the_deadline_is_cut() {
        let (_client, connections, ledger) = serving().await;
        let options = DrainOptions::default().deadline(Duration::from_secs(30));
        assert_eq!(drain(&connections, &options).await.cut, 1);
        assert_eq!((ledger.account().closed_clean, ledger.account().closed_dirty), (0, 1));
    }
}
