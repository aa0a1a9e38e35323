//! The server: a function of a stream of connections. It knows nothing of
//! upgrades; when the stream ends, it has accepted its last.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::echo::echo;
use crate::ledger::Ledger;

/// The connections of this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connections {
    tracker: TaskTracker,
    cut: CancellationToken,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drained {
    /// Every connection finished by itself.
    Clean,
    /// This many had to be cut.
    Cut(usize),
}

/// Serves every connection of the stream, until it ends.
pub(crate) async fn serve<S, C>(
    mut stream: S,
    greeting: Option<Arc<[u8]>>,
    ledger: Arc<Ledger>,
    connections: Connections,
) where
    S: Stream<Item = io::Result<C>> + Unpin,
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    while let Some(Ok(connection)) = stream.next().await {
        ledger.accepted();
        let (greeting, ledger) = (greeting.clone(), Arc::clone(&ledger));
        let cut = connections.cut.clone();
        connections.tracker.spawn(async move {
            let finished = cut.run_until_cancelled(echo(connection, greeting.as_deref(), &ledger));
            ledger.closed(matches!(finished.await, Some(Ok(()))));
        });
    }
}

impl Connections {
    /// Waits until every connection has finished, for `most` or until `hurry`
    /// is ready; then cuts what is left. To be called when nothing is accepted
    /// any more.
    pub(crate) async fn drain(&self, most: Duration, hurry: impl Future) -> Drained {
        self.tracker.close();
        tokio::select! {
            () = self.tracker.wait() => return Drained::Clean,
            () = tokio::time::sleep(most) => {}
            _ = hurry => {}
        }
        let left = self.tracker.len();
        self.cut.cancel();
        self.tracker.wait().await;
        Drained::Cut(left)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    async fn serving() -> (DuplexStream, Connections, Arc<Ledger>) {
        let (mut client, server) = duplex(64);
        let (connections, ledger) = (Connections::default(), Arc::new(Ledger::new(0)));
        let stream = futures::stream::iter([Ok(server)]);
        serve(stream, None, Arc::clone(&ledger), connections.clone()).await;
        client.write_all(b"x").await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'x');
        (client, connections, ledger)
    }

    #[tokio::test]
    async fn a_drain_waits_for_a_client_that_finishes() {
        let (mut client, connections, ledger) = serving().await;
        let drain = connections.drain(Duration::MAX, pending::<()>());
        let (drained, ()) = tokio::join!(drain, async { client.shutdown().await.unwrap() });
        assert_eq!(drained, Drained::Clean);
        assert_eq!((ledger.account().closed_clean, ledger.account().closed_dirty), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_cuts_what_outlasts_the_deadline() {
        let (_client, connections, ledger) = serving().await;
        let drained = connections.drain(Duration::from_secs(30), pending::<()>()).await;
        assert_eq!(drained, Drained::Cut(1));
        assert_eq!((ledger.account().closed_clean, ledger.account().closed_dirty), (0, 1));
    }

    #[tokio::test]
    async fn a_drain_can_be_hurried() {
        let (_client, connections, _ledger) = serving().await;
        let drained = connections.drain(Duration::MAX, std::future::ready(())).await;
        assert_eq!(drained, Drained::Cut(1));
    }
}
