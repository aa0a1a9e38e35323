//! Everything of the kernel's that is written down while a run goes on.

use std::io;
use std::net::SocketAddr;

use super::sampler::Sampler;
use super::tracefs::{TraceError, Tracing};
use crate::clock::Clock;
use crate::event::{Edge, KernelLedger, Resets, Scope};

/// Samples counters, and traces resets where this machine lets us.
#[derive(Debug)]
pub struct Watch {
    clock: Clock,
    server: SocketAddr,
    /// Above the sampler, so that it begins before and ends after: no reset is
    /// counted that was not traced.
    tracing: Result<Tracing, TraceError>,
    sampler: Sampler,
}

impl Watch {
    /// Begins to watch what concerns the server at this address.
    ///
    /// # Errors
    ///
    /// The counters could not be read. That resets cannot be traced is no error,
    /// but part of the ledger.
    pub fn start(clock: Clock, server: SocketAddr) -> io::Result<Self> {
        let tracing = Tracing::start();
        let sampler = Sampler::start(clock, server.port())?;
        Ok(Self { clock, server, tracing, sampler })
    }

    /// Takes a sample now, because of these. Nothing happened: nothing is read.
    pub fn edges(&self, edges: Vec<Edge>) {
        self.sampler.edges(edges);
    }

    /// Takes the last sample, and closes the books.
    #[must_use]
    pub fn finish(self, scope: Scope) -> KernelLedger {
        let ledger = self.sampler.finish(scope);
        let resets = match self.tracing {
            Ok(tracing) => tracing.finish(self.server, self.clock),
            Err(error) => Resets::Untraced { why: error.to_string() },
        };
        KernelLedger { resets, ..ledger }
    }
}
