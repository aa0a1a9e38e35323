//! Which processes came and went since the last look.

use crate::event::Edge;
use crate::subject::Process;

/// Remembers what was told already.
#[derive(Debug, Default)]
pub(super) struct Witness {
    /// For each process told of, whether its end was told too.
    told: Vec<bool>,
}

impl Witness {
    /// What is new. Processes are never taken out of the list.
    pub(super) fn news(&mut self, processes: &[Process]) -> Vec<Edge> {
        let mut news = Vec::new();
        for (place, process) in processes.iter().enumerate() {
            if place == self.told.len() {
                self.told.push(false);
                news.push(Edge::Seen(process.pid));
            }
            if process.gone.is_some()
                && let Some(told) = self.told.get_mut(place).filter(|told| !**told)
            {
                *told = true;
                news.push(Edge::Gone(process.pid));
            }
        }
        news
    }
}
