//! For how long nobody of a population was served well.

use std::collections::HashSet;

use super::check::Gap;
use super::evidence::Evidence;
use crate::clock::Stamp;
use crate::event::Fate;

/// The longest gap of every population: the time in which none of its operations
/// ended well. The edges of the load count, so that a server that dies halfway
/// leaves a gap to the end.
pub(super) fn gaps(evidence: &Evidence<'_>, harmed: &HashSet<u64>) -> Vec<Gap> {
    let timeline = &evidence.recording.timeline;
    let mut ended: Vec<Vec<Stamp>> = Vec::new();
    ended.resize_with(evidence.recording.populations.len(), Vec::new);
    for operation in &evidence.recording.operations {
        if operation.fate == Fate::Ok
            && !harmed.contains(&operation.id)
            && let Some(ended) = ended.get_mut(usize::from(operation.population))
        {
            ended.push(operation.finished);
        }
    }
    let names = evidence.recording.populations.iter();
    names
        .zip(ended)
        .map(|(name, ended)| longest(name, ended, timeline.load_began, timeline.load_ended))
        .collect()
}

fn longest(name: &str, mut ended: Vec<Stamp>, began: Stamp, end: Stamp) -> Gap {
    let served = u64::try_from(ended.len()).unwrap_or(u64::MAX);
    // What was intended before the end of the load may end well after it.
    let end = ended.iter().copied().max().map_or(end, |last| last.max(end));
    ended.extend([began, end]);
    ended.sort_unstable();
    let widest = ended.windows(2).max_by_key(|pair| pair[1] - pair[0]);
    let (from, to) = widest.map_or((began, end), |pair| (pair[0], pair[1]));
    Gap { population: name.to_owned(), from, to, served }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_at_the_end_counts() {
        let gap = longest("a", vec![Stamp(40), Stamp(10)], Stamp(0), Stamp(100));
        assert_eq!((gap.from, gap.to, gap.served), (Stamp(40), Stamp(100), 2));
        let gap = longest("a", Vec::new(), Stamp(0), Stamp(100));
        assert_eq!((gap.from, gap.to, gap.served), (Stamp(0), Stamp(100), 0));
        let gap = longest("a", vec![Stamp(10), Stamp(130)], Stamp(0), Stamp(100));
        assert_eq!((gap.from, gap.to), (Stamp(10), Stamp(130)));
    }
}
