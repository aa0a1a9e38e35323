//! A run of several parts, looked at as if it were one, for reports. The verdict
//! is never made of this: what the parts did at the same time had nothing to do
//! with each other.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::run::{Part, Run};
use crate::clock::Stamp;
use crate::event::{
    Burst, Connection, Counters, Edge, FaultRecord, Generation, KernelLedger, Machine, Observer,
    Operation, Recording, Sample, Samples, Scope, Timeline, Upgrade,
};

/// No pid of Linux is as large as this.
const PIDS: u32 = 1 << 22;

impl Run {
    /// The whole run as one recording, and the machines as one.
    ///
    /// The parts' clocks are set so that their loads begin together. Processes of
    /// different machines that have the same pid are told apart by adding a
    /// multiple of 4194304.
    #[must_use]
    pub fn view(&self) -> (Cow<'_, Recording>, Cow<'_, Machine>) {
        match self.parts.as_slice() {
            [only] => (Cow::Borrowed(&only.recording), Cow::Borrowed(&only.machine)),
            parts => (Cow::Owned(recording(parts)), Cow::Owned(machine(parts))),
        }
    }
}

fn recording(parts: &[Part]) -> Recording {
    let latest = parts.iter().map(|part| part.recording.timeline.load_began).max();
    let collide = collide(parts);
    let moved: Vec<Recording> = parts
        .iter()
        .zip(0..)
        .map(|(part, index): (_, u32)| {
            let recording = &part.recording;
            let later = latest.unwrap_or_default() - recording.timeline.load_began;
            let pids = if collide { index.saturating_mul(PIDS) } else { 0 };
            Move { later, pids }.recording(recording)
        })
        .collect();
    let mut whole = Recording {
        version: crate::event::VERSION,
        started_unix: moved.iter().map(|part| part.started_unix).min().unwrap_or_default(),
        populations: moved.first().map(|part| part.populations.clone()).unwrap_or_default(),
        timeline: Timeline::default(),
        operations: Vec::new(),
        connections: Vec::new(),
        generations: Vec::new(),
        upgrades: Vec::new(),
        faults: Vec::new(),
        bursts: Vec::new(),
        // Samples and traced resets are each part's, on its own clock.
        kernel: KernelLedger::new(Scope::Private, BTreeMap::new(), BTreeMap::new()),
        observer: Observer::default(),
        interrupted: None,
        leaked: Vec::new(),
    };
    moved.into_iter().for_each(|part| add(&mut whole, part));
    whole
}

/// Whether a pid means different processes in different parts.
fn collide(parts: &[Part]) -> bool {
    let mut seen = BTreeSet::new();
    parts.iter().flat_map(|part| &part.recording.generations).any(|one| !seen.insert(one.pid))
}

fn add(whole: &mut Recording, part: Recording) {
    let Recording {
        version: _,
        started_unix: _,
        populations: _,
        timeline,
        operations,
        connections,
        generations,
        upgrades,
        faults,
        bursts,
        kernel,
        observer,
        interrupted,
        leaked,
    } = part;
    whole.timeline = latest(whole.timeline, timeline);
    whole.operations.extend(operations);
    whole.connections.extend(connections);
    whole.generations.extend(generations);
    whole.upgrades.extend(upgrades);
    whole.faults.extend(faults);
    whole.bursts.extend(bursts);
    if kernel.scope == Scope::Host {
        whole.kernel.scope = Scope::Host;
    }
    sum(&mut whole.kernel.before, kernel.before);
    sum(&mut whole.kernel.after, kernel.after);
    samples(&mut whole.kernel.samples, kernel.samples);
    let intended = &mut whole.observer.intended;
    intended.resize(intended.len().max(observer.intended.len()), 0);
    intended.iter_mut().zip(observer.intended).for_each(|(sum, more)| *sum += more);
    whole.observer.hiccup_max = whole.observer.hiccup_max.max(observer.hiccup_max);
    whole.observer.hiccup_p99 = whole.observer.hiccup_p99.max(observer.hiccup_p99);
    whole.interrupted = whole.interrupted.take().or(interrupted);
    whole.leaked.extend(leaked);
}

fn latest(one: Timeline, other: Timeline) -> Timeline {
    Timeline {
        load_began: one.load_began.max(other.load_began),
        warmed_up: one.warmed_up.max(other.warmed_up),
        storm_began: one.storm_began.max(other.storm_began),
        storm_ended: one.storm_ended.max(other.storm_ended),
        load_ended: one.load_ended.max(other.load_ended),
        ended: one.ended.max(other.ended),
    }
}

fn sum(whole: &mut Counters, part: Counters) {
    for (name, count) in part {
        let sum = whole.entry(name).or_default();
        *sum = sum.saturating_add(count);
    }
}

/// Puts the samples of two kernels in one order. Each says how far a counter moved,
/// so that they add up all the same.
fn samples(whole: &mut Samples, part: Samples) {
    let mut places = Vec::new();
    for name in part.names {
        let place = whole.names.iter().position(|known| *known == name);
        places.push(place.unwrap_or(whole.names.len()));
        if place.is_none() {
            whole.names.push(name);
        }
    }
    for mut sample in part.rows {
        sample.moved = sample
            .moved
            .into_iter()
            .filter_map(|(place, by)| Some((*places.get(place)?, by)))
            .collect();
        whole.rows.push(sample);
    }
    whole.rows.sort_by_key(|sample| sample.to);
    whole.failed = whole.failed.saturating_add(part.failed);
}

/// How a part is moved to its place.
#[derive(Clone, Copy, Debug)]
struct Move {
    later: Duration,
    pids: u32,
}

impl Move {
    fn at(self, stamp: Stamp) -> Stamp {
        stamp.after(self.later)
    }

    fn maybe(self, stamp: Option<Stamp>) -> Option<Stamp> {
        stamp.map(|stamp| self.at(stamp))
    }

    fn pid(self, pid: u32) -> u32 {
        pid.saturating_add(self.pids)
    }

    fn recording(self, part: &Recording) -> Recording {
        let timeline = part.timeline;
        Recording {
            timeline: Timeline {
                load_began: self.at(timeline.load_began),
                warmed_up: self.at(timeline.warmed_up),
                storm_began: self.at(timeline.storm_began),
                storm_ended: self.at(timeline.storm_ended),
                load_ended: self.at(timeline.load_ended),
                ended: self.at(timeline.ended),
            },
            operations: part.operations.iter().map(|row| self.operation(row)).collect(),
            connections: part.connections.iter().map(|row| self.connection(row)).collect(),
            generations: part.generations.iter().map(|row| self.generation(row)).collect(),
            upgrades: part.upgrades.iter().map(|row| self.upgrade(row)).collect(),
            faults: part.faults.iter().map(|row| self.fault(row)).collect(),
            bursts: part.bursts.iter().map(|row| self.burst(row)).collect(),
            leaked: part.leaked.iter().map(|pid| self.pid(*pid)).collect(),
            version: part.version,
            started_unix: part.started_unix,
            populations: part.populations.clone(),
            kernel: KernelLedger {
                samples: Samples {
                    rows: part.kernel.samples.rows.iter().map(|row| self.sample(row)).collect(),
                    ..part.kernel.samples.clone()
                },
                ..part.kernel.clone()
            },
            observer: part.observer.clone(),
            interrupted: part.interrupted.clone(),
        }
    }

    fn operation(self, row: &Operation) -> Operation {
        Operation {
            intended: self.at(row.intended),
            dispatched: self.at(row.dispatched),
            finished: self.at(row.finished),
            ..row.clone()
        }
    }

    fn connection(self, row: &Connection) -> Connection {
        Connection {
            opened: self.maybe(row.opened),
            established: self.maybe(row.established),
            first_byte: self.maybe(row.first_byte),
            closed: self.at(row.closed),
            served: row.served.map(|mut served| {
                served.pid = self.pid(served.pid);
                served
            }),
            ..row.clone()
        }
    }

    fn generation(self, row: &Generation) -> Generation {
        let ledger = row.ledger.clone().map(|mut ledger| {
            ledger.pid = self.pid(ledger.pid);
            ledger
        });
        Generation {
            pid: self.pid(row.pid),
            seen: self.at(row.seen),
            gone: self.maybe(row.gone),
            ledger,
            ..row.clone()
        }
    }

    fn upgrade(self, row: &Upgrade) -> Upgrade {
        Upgrade {
            triggered: self.at(row.triggered),
            old_pid: self.pid(row.old_pid),
            new_pid: row.new_pid.map(|pid| self.pid(pid)),
            new_seen: self.maybe(row.new_seen),
            new_answered: self.maybe(row.new_answered),
            decided: self.at(row.decided),
            ..row.clone()
        }
    }

    fn sample(self, row: &Sample) -> Sample {
        let edge = |edge: &Edge| match *edge {
            Edge::Seen(pid) => Edge::Seen(self.pid(pid)),
            Edge::Gone(pid) => Edge::Gone(self.pid(pid)),
            other @ (Edge::Began | Edge::Triggered(_) | Edge::Answered(_) | Edge::Ended) => other,
        };
        Sample {
            from: self.at(row.from),
            to: self.at(row.to),
            edges: row.edges.iter().map(edge).collect(),
            ..row.clone()
        }
    }

    fn burst(self, row: &Burst) -> Burst {
        Burst { expected: self.at(row.expected), happened: self.maybe(row.happened), ..*row }
    }

    fn fault(self, row: &FaultRecord) -> FaultRecord {
        FaultRecord {
            pid: row.pid.map(|pid| self.pid(pid)),
            victim: row.victim.map(|pid| self.pid(pid)),
            left: row.left.iter().map(|pid| self.pid(*pid)).collect(),
            injected: self.maybe(row.injected),
            old_answered: self.maybe(row.old_answered),
            ..row.clone()
        }
    }
}

/// Several machines as one; one that took several parts counts once.
fn machine(parts: &[Part]) -> Machine {
    let mut boots: BTreeMap<&str, usize> = BTreeMap::new();
    let mut kernels = BTreeSet::new();
    let mut nameless = 0;
    for Machine { kernel, cpus, boot } in parts.iter().map(|part| &part.machine) {
        kernels.insert(kernel.as_str());
        if boot.is_empty() {
            nameless += cpus;
        } else {
            boots.insert(boot, *cpus);
        }
    }
    Machine {
        kernel: kernels.into_iter().collect::<Vec<_>>().join(", "),
        cpus: boots.values().sum::<usize>() + nameless,
        boot: boots.into_keys().collect::<Vec<_>>().join(" "),
    }
}
