//! One client: greeted, and then told what it says.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::Arguments;
use crate::doors::Stream;
use crate::fault::Fault;

/// So much is read at once.
const CHUNK: usize = 16 * 1024;

/// A connection on which nothing has come for so long is quiet. A client that is
/// about to send is far quicker.
const QUIET: Duration = Duration::from_millis(200);

/// So soon after its last bytes, a client that finishes sending has done so.
const SOON: Duration = Duration::from_millis(100);

/// A client whose bytes have come so far has begun to send, and is still at it: in the
/// control's scenario it sends more than twice as much.
const AMID: Range<usize> = 100..500;

/// How clients are treated.
#[derive(Debug)]
pub(crate) struct Manners {
    fault: Option<Fault>,
    greeting: String,
    /// The next reply is the first of a generation that has succeeded another.
    first: AtomicBool,
    succeeded: watch::Receiver<bool>,
}

impl Manners {
    pub(crate) fn new(arguments: &Arguments, succeeded: watch::Receiver<bool>) -> Self {
        let (generation, pid) = (arguments.generation, std::process::id());
        Self {
            fault: arguments.fault,
            greeting: format!("generation {generation} pid {pid}\n"),
            first: AtomicBool::new(generation > 0),
            succeeded,
        }
    }

    /// The fault, if a successor serves already.
    fn after_the_handover(&self) -> Option<Fault> {
        self.fault.filter(|_| *self.succeeded.borrow())
    }

    /// Waits until a successor serves.
    async fn succeeded(&self) {
        if self.succeeded.clone().wait_for(|succeeded| *succeeded).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Serves a client until it or the fault ends the connection.
pub(crate) async fn serve(mut client: Box<dyn Stream>, manners: &Manners) -> io::Result<()> {
    client.write_all(manners.greeting.as_bytes()).await?;
    let (mut buffer, mut echoed) = (vec![0; 2 * CHUNK], 0);
    loop {
        let Some(read) = read(&mut client, &mut buffer[..CHUNK], manners).await? else {
            return Ok(());
        };
        if read == 0 {
            return client.shutdown().await;
        }
        let mut filled = read;
        match manners.after_the_handover() {
            Some(Fault::HalfClose) => match more(&mut client, &mut buffer[read..]).await? {
                Some(0) => return client.shutdown().await,
                more => filled += more.unwrap_or_default(),
            },
            Some(Fault::DropWriters) if AMID.contains(&echoed) => {
                client.write_all(&buffer[..filled]).await?;
                return client.shutdown().await;
            }
            _ => {}
        }
        let bytes = &mut buffer[..filled];
        reply(&mut client, bytes, manners).await?;
        echoed += filled;
    }
}

/// Reads. None: the connection was quiet when a successor came, and is ended.
async fn read(
    client: &mut Box<dyn Stream>,
    buffer: &mut [u8],
    manners: &Manners,
) -> io::Result<Option<usize>> {
    if !matches!(manners.fault, Some(Fault::DropQuiet | Fault::ResetQuiet)) {
        return client.read(buffer).await.map(Some);
    }
    if let Ok(read) = timeout(QUIET, client.read(buffer)).await {
        return read.map(Some);
    }
    tokio::select! {
        biased;
        read = client.read(buffer) => return read.map(Some),
        () = manners.succeeded() => {}
    }
    if manners.fault == Some(Fault::ResetQuiet) {
        SockRef::from(&client.as_fd()).set_linger(Some(Duration::ZERO))?;
    }
    Ok(None)
}

/// What comes soon: 0 if the client finishes, None if nothing comes.
async fn more(client: &mut Box<dyn Stream>, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    timeout(SOON, client.read(buffer)).await.map_or(Ok(None), |read| read.map(Some))
}

async fn reply(
    client: &mut Box<dyn Stream>,
    bytes: &mut [u8],
    manners: &Manners,
) -> io::Result<()> {
    let first = manners.first.swap(false, Ordering::Relaxed);
    match manners.fault.filter(|_| first) {
        Some(Fault::Corrupt) => bytes[bytes.len() / 2] ^= 1,
        Some(Fault::LoseBytes) => {
            client.write_all(&bytes[bytes.len() / 2..]).await?;
            return client.shutdown().await;
        }
        Some(Fault::DoubleBytes) => client.write_all(bytes).await?,
        _ => {}
    }
    client.write_all(bytes).await
}
