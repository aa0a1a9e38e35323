//! SIGINT and SIGTERM to the harness: the run ends early, in order, with a
//! report of what was seen.

use std::io;
use std::sync::{Arc, OnceLock};
use std::thread;

use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

/// Listens for the two signals. By handlers, and not by blocking them: what is
/// blocked here would be blocked in the server under test as well.
#[derive(Clone, Debug)]
pub(super) struct Interrupts {
    came: Arc<OnceLock<&'static str>>,
}

impl Interrupts {
    pub(super) fn hold() -> io::Result<Self> {
        let came = Arc::new(OnceLock::new());
        let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
        let (mut interrupt, mut terminate) = {
            let _inside = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let heard = Arc::clone(&came);
        // It listens until the process ends; there is nothing to be joined.
        thread::Builder::new().name("interrupts".to_owned()).spawn(move || {
            runtime.block_on(async {
                let name = tokio::select! {
                    _ = interrupt.recv() => "SIGINT",
                    _ = terminate.recv() => "SIGTERM",
                };
                heard.get_or_init(|| name);
            });
        })?;
        Ok(Self { came })
    }

    /// The name of the one that came first, if one did.
    pub(super) fn came(&self) -> Option<String> {
        self.came.get().map(|name| (*name).to_owned())
    }
}
