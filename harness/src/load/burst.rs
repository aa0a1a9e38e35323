//! Operations beside the schedule, many at one moment.

use std::io;
use std::sync::Arc;
use std::thread;

use rand::RngExt;
use tokio::sync::mpsc::UnboundedSender;

use super::ledger::Ledger;
use super::pacer::{Due, End, wait};
use crate::chance;
use crate::clock::{Clock, Stamp};
use crate::scenario::plan::Load;

/// Many operations at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Volley {
    /// Index of their population in the plan.
    pub population: u16,
    /// When they are to be begun.
    pub moment: Stamp,
    /// How many.
    pub count: u64,
    /// Tells this volley from others, in what is drawn for it.
    pub number: u64,
}

/// Where volleys come from.
#[derive(Debug)]
pub(super) struct Bursts {
    pub(super) clock: Clock,
    pub(super) end: End,
    pub(super) ledger: Arc<Ledger>,
    /// Everything random is drawn from this.
    pub(super) seed: u64,
    /// Where operations go. Whoever reads them waits for each volley that is announced.
    pub(super) out: UnboundedSender<Due>,
}

impl Bursts {
    /// Hands over operations of `load` at their moment, unless the load ends before.
    pub(super) fn announce(&self, load: &Load, volley: Volley) -> io::Result<()> {
        let Volley { population, moment, count, number } = volley;
        let mut chance = chance::stream(self.seed, &load.name, &format!("burst {number}"));
        let (least, most) = load.payload;
        let payloads: Vec<usize> =
            (0..count).map(|_| chance.random_range(least..=most.max(least))).collect();
        let (clock, end, out) = (self.clock, self.end.clone(), self.out.clone());
        let ledger = Arc::clone(&self.ledger);
        let burst = move || {
            if !wait(clock, &end, moment) {
                return;
            }
            for payload in payloads {
                let id = ledger.intend(population);
                let due = Due { id, population, intended: moment, payload, half_close: false };
                // With nobody left to hand it to, the missing row tells.
                let _ = out.send(due);
            }
        };
        thread::Builder::new().name("load-burst".to_owned()).spawn(burst).map(drop)
    }
}
