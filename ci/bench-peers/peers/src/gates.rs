//! What has to hold, and how much of it does.

use crate::figures::Figures;
use crate::measures::{Comparison, MEASURES};
use crate::peer::{OURS, PEERS, Peer, Role};
use crate::sabotage::Fault;

/// A claim, and whether it holds.
pub(crate) type Gate = (String, bool);

pub(crate) fn gates(figures: &Figures) -> Vec<Gate> {
    let mut gates = compared(figures);
    gates.extend(harmless(figures));
    gates.extend(controls(figures));
    for trouble in &figures.troubles {
        gates.push((format!("everything could be measured ({})", first_line(trouble)), false));
    }
    gates
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// Ours is no worse than the best of the others.
fn compared(figures: &Figures) -> Vec<Gate> {
    let measures = MEASURES.into_iter().filter(|measure| measure.excuse.is_none());
    let gate = |measure| {
        let Some(compared) = Comparison::of(measure, figures) else {
            return (format!("{}: ours and others were measured", measure.title), false);
        };
        let (title, digits) = (measure.title, measure.digits);
        let (ours, best) = (compared.ours.median, compared.of_best.median);
        let claim = format!(
            "{title}: ours ({ours:.digits$}) is no worse than the best ({}, {best:.digits$})",
            compared.best
        );
        (claim, !compared.is_worse_beyond_noise())
    };
    measures.map(gate).collect()
}

/// Ours harms nobody, whatever is done to it.
fn harmless(figures: &Figures) -> Vec<Gate> {
    let mut gates = Vec::new();
    for kind in ["storm", "killed"] {
        let (harm, times) = figures.storms(kind, OURS).fold((0, 0), |(harm, times), storm| {
            let done = if kind == "storm" { storm.upgrades } else { storm.killed };
            (harm + storm.harm.values().sum::<u64>(), times + done)
        });
        let what = if kind == "storm" { "upgrades" } else { "killed successors" };
        gates.push((format!("ours: {times} {what} harmed {harm} clients"), times > 0 && harm == 0));
    }
    for fault in Fault::ALL.map(Fault::id) {
        let all = figures.sabotages.iter().filter(|one| one.peer == OURS && one.fault == fault);
        let all: Vec<_> = all.collect();
        let holds = |holds: fn(&crate::figures::Sabotage) -> bool| {
            !all.is_empty() && all.iter().all(|one| holds(one))
        };
        gates.push((
            format!("ours: {fault}: nobody was harmed, and the old one served on"),
            holds(|one| one.connections > 0 && one.harmed == 0 && one.serves),
        ));
        gates.push((
            format!("ours: {fault}: whoever asked was told, and the next upgrade worked"),
            holds(|one| one.told_failure && one.upgrades),
        ));
    }
    for measure in ["stop.flight", "stop.queue"] {
        let lost = figures.spread(measure, OURS);
        gates.push((
            format!("ours: {measure}: a stop serves those who are there"),
            lost.is_some_and(|lost| lost.most == 0.0),
        ));
    }
    gates
}

/// With so many upgrades one that loses somebody at one of sixty is convicted but for one
/// time in a thousand: 60 ln 1000.
const CERTAIN: u64 = 415;

/// The load was one that shows what it is to show.
fn controls(figures: &Figures) -> Vec<Gate> {
    let harm = |peer: &Peer| {
        let storms = figures.storms("storm", peer.id);
        storms
            .fold((0, 0), |(runs, harm), storm| (runs + 1, harm + storm.harm.values().sum::<u64>()))
    };
    let upgrades =
        |peer: &Peer| figures.storms("storm", peer.id).map(|storm| storm.upgrades).sum::<u64>();
    let gate = |peer: &Peer| {
        let (runs, harm) = harm(peer);
        match peer.role {
            Role::Naive => Some((format!("{}: it was convicted ({harm})", peer.title), harm > 0)),
            Role::Floor => {
                Some((format!("{}: nobody was harmed ({harm})", peer.title), runs > 0 && harm == 0))
            }
            Role::Subtle => (upgrades(peer) >= CERTAIN)
                .then(|| (format!("{}: it was convicted ({harm})", peer.title), harm > 0)),
            Role::Graceful => None,
        }
    };
    PEERS.iter().filter_map(gate).collect()
}
