//! What this generation accepted, read and wrote: served on request, and left
//! behind at the end, so that somebody else can check that the sums of all
//! generations are those of the clients.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;

/// The account of one generation, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Account {
    /// The generation, counted from 0.
    pub(crate) generation: u64,
    /// This process.
    pub(crate) pid: u32,
    /// Connections accepted.
    pub(crate) accepted: u64,
    /// Connections on which a byte was read.
    pub(crate) first_read: u64,
    /// Connections that ended as they should: the client finished, then we did.
    pub(crate) closed_clean: u64,
    /// Connections that ended in any other way.
    pub(crate) closed_dirty: u64,
    /// Bytes read.
    pub(crate) bytes_in: u64,
    /// Bytes written.
    pub(crate) bytes_out: u64,
    /// Datagrams read; they count nowhere else.
    pub(crate) datagrams_in: u64,
    /// Datagrams sent.
    pub(crate) datagrams_out: u64,
}

/// The counters of this generation.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    generation: u64,
    accepted: AtomicU64,
    first_read: AtomicU64,
    closed_clean: AtomicU64,
    closed_dirty: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    datagrams_in: AtomicU64,
    datagrams_out: AtomicU64,
}

impl Ledger {
    /// An empty ledger.
    #[must_use]
    pub(crate) fn new(generation: u64) -> Self {
        Self { generation, ..Self::default() }
    }

    /// A connection was accepted.
    pub(crate) fn accepted(&self) {
        add(&self.accepted, 1);
    }

    /// A connection ended.
    pub(crate) fn closed(&self, clean: bool) {
        add(if clean { &self.closed_clean } else { &self.closed_dirty }, 1);
    }

    /// Bytes were read; `first` if they were the first of their connection.
    pub(crate) fn read(&self, count: usize, first: bool) {
        add(&self.bytes_in, count);
        if first {
            add(&self.first_read, 1);
        }
    }

    /// Bytes were written.
    pub(crate) fn wrote(&self, count: usize) {
        add(&self.bytes_out, count);
    }

    /// A datagram was read.
    pub(crate) fn read_datagram(&self) {
        add(&self.datagrams_in, 1);
    }

    /// A datagram was sent.
    pub(crate) fn sent_datagram(&self) {
        add(&self.datagrams_out, 1);
    }

    /// What the counters say now.
    #[must_use]
    pub(crate) fn account(&self) -> Account {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Account {
            generation: self.generation,
            pid: std::process::id(),
            accepted: read(&self.accepted),
            first_read: read(&self.first_read),
            closed_clean: read(&self.closed_clean),
            closed_dirty: read(&self.closed_dirty),
            bytes_in: read(&self.bytes_in),
            bytes_out: read(&self.bytes_out),
            datagrams_in: read(&self.datagrams_in),
            datagrams_out: read(&self.datagrams_out),
        }
    }
}

fn add(counter: &AtomicU64, count: impl TryInto<u64>) {
    counter.fetch_add(count.try_into().unwrap_or_default(), Ordering::Relaxed);
}

/// A ledger that others can read.
#[derive(Debug)]
pub(crate) struct Published {
    ledger: Arc<Ledger>,
    directory: PathBuf,
}

impl Published {
    /// Answers on `directory/PID.sock` from now on.
    ///
    /// # Errors
    /// Those of creating the directory and binding the socket.
    pub(crate) fn new(ledger: Arc<Ledger>, directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let published = Self { ledger: Arc::clone(&ledger), directory: directory.to_owned() };
        let socket = published.path("sock");
        // A process that had our number before us may have been killed.
        match fs::remove_file(&socket) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed?,
        }
        let listener = UnixListener::bind(socket)?;
        tokio::spawn(async move {
            // Whoever does not wait for the answer does not get it.
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(&line(&ledger)).await;
            }
        });
        Ok(published)
    }

    /// Leaves the account in `directory/PID.json`, whole or not at all.
    ///
    /// # Errors
    /// Those of writing the file.
    pub(crate) fn close(&self) -> io::Result<()> {
        let unfinished = self.path("json.new");
        fs::write(&unfinished, line(&self.ledger))?;
        fs::rename(unfinished, self.path("json"))?;
        fs::remove_file(self.path("sock"))
    }

    fn path(&self, ending: &str) -> PathBuf {
        self.directory.join(format!("{}.{ending}", std::process::id()))
    }
}

fn line(ledger: &Ledger) -> Vec<u8> {
    let account = serde_json::json!(ledger.account());
    format!("{account}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A successor could not begin where a process with its number had been killed.
    #[tokio::test]
    async fn what_a_killed_process_with_our_number_has_left_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let publish = || Published::new(Arc::default(), directory.path()).unwrap();
        // Nobody closes the first.
        drop(publish());
        publish().close().unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "the account");
    }
}
