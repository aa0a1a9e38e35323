//! Schedules drawn at random: load, upgrades and faults around the target of a
//! scenario.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::bounds;
use super::sound::sound;
use crate::chance;
use crate::event::Anchor;
use crate::scenario::catalogue::{ENTRIES, Entry};
use crate::scenario::fault::Misdeed;
use crate::scenario::plan::{
    Arrivals, Burst, Endpoint, Fault, FaultKind, Load, LoadKind, Offset, Pace, Phases, Plan, Ramp,
    Speak, Upgrades, When,
};
use crate::scenario::vary::Vary;

/// No upgrade after this one is hit by a fault: a fault whose upgrade never comes
/// proves nothing, and makes the rest of its run worth no more.
const LATEST_FAULT: u64 = 4;

/// How long is waited for a generation that has no connection left. Schedules are
/// short, and in none does anybody wait for longer than for upgrades.
const LONGEST_DRAIN: Duration = Duration::from_secs(1);

/// The schedule of this number that `seed` stands for. Each of its parts is drawn
/// from a chance of its own, by name, so that a kind of population more among those
/// that can be drawn does not make other schedules of all. Only where the sum would
/// be too much are all rates lowered together.
#[must_use]
pub fn draw(base: &Plan, vary: &Vary, seed: u64, number: u64) -> Plan {
    let chance = Chance { seed: seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
    let phases = phases(&mut chance.of("phases"));
    let mut loads = populations(base, chance);
    for load in &mut loads {
        swell(load, phases, &mut chance.of(&format!("swell {}", load.name)));
    }
    bounds::keep_within(&mut loads);
    let mut plan = Plan {
        name: format!("{}-{number}", base.name),
        about: format!("Schedule {number} of those drawn from {seed:#x}"),
        seed: chance.of("seed").random(),
        phases,
        loads,
        upgrades: Some(upgrades(&mut chance.of("upgrades"))),
        faults: faults(base, &mut chance.of("faults")),
        ..base.clone()
    };
    let mut words = chance.of("target");
    for (flag, values) in &vary.arguments {
        if let Some(value) = values.choose(&mut words) {
            Vary::put(&mut plan.target.command, flag, value);
        }
    }
    plan.target.drain_timeout = plan.target.drain_timeout.min(LONGEST_DRAIN);
    plan.coverage.upgrades = 1;
    // What is drawn is within what can be written, so that the plan itself stands
    // in for the one that was read back.
    sound(plan.clone()).unwrap_or(plan)
}

/// The chance of one schedule.
#[derive(Clone, Copy, Debug)]
struct Chance {
    seed: u64,
}

impl Chance {
    fn of(self, purpose: &str) -> StdRng {
        chance::stream(self.seed, "explore", purpose)
    }
}

/// Evenly over the orders of magnitude, in whole numbers.
fn scaled(chance: &mut StdRng, least: f64, most: f64) -> f64 {
    (least * (most / least).powf(chance.random())).round()
}

fn millis(chance: &mut StdRng, least: f64, most: f64) -> Duration {
    Duration::from_secs_f64(scaled(chance, least, most) / 1e3)
}

fn phases(chance: &mut StdRng) -> Phases {
    Phases {
        warmup: millis(chance, 200.0, 500.0),
        baseline: Duration::from_millis(200),
        storm: millis(chance, 1000.0, 4000.0),
        settle: millis(chance, 100.0, 500.0),
    }
}

/// The populations of the schedule: some of all that could use what the target
/// serves, with one that makes new connections among them. Without that nobody
/// would see who answers.
fn populations(base: &Plan, chance: Chance) -> Vec<Load> {
    let (mut drawn, mut spare) = (Vec::new(), Vec::new());
    for load in everybody(base) {
        let mut own = chance.of(&format!("load {}", load.name));
        // Whoever is silent to the end keeps the first generation until then.
        let rare = matches!(load.kind, LoadKind::Idle { .. });
        let taken = own.random_bool(if rare { 0.1 } else { 0.35 });
        let load = details(load, &mut own);
        if taken {
            drawn.push(load);
        } else if load.kind == LoadKind::Churn {
            spare.push(load);
        }
    }
    if !drawn.iter().any(|load| load.kind == LoadKind::Churn)
        && let Some(churn) = spare.choose(&mut chance.of("churn"))
    {
        drawn.push(churn.clone());
    }
    drawn
}

/// One population of each kind for each place that a load of the base goes to.
fn everybody(base: &Plan) -> Vec<Load> {
    let mut all: Vec<Load> = Vec::new();
    let mut places: Vec<(&Endpoint, &Speak)> = Vec::new();
    for load in &base.loads {
        if places.contains(&(&load.to, &load.speak)) {
            continue;
        }
        places.push((&load.to, &load.speak));
        for (kind, what) in kinds(&load.to, &load.speak) {
            let number = places.len();
            all.push(Load {
                name: format!("{}{number}-{what}", place_name(&load.to)),
                kind,
                payload: (64, 1024),
                ramp: None,
                bursts: Vec::new(),
                ..load.clone()
            });
        }
    }
    all
}

fn place_name(to: &Endpoint) -> &'static str {
    match to {
        Endpoint::Tcp => "tcp",
        Endpoint::Udp => "udp",
        Endpoint::Unix(_) => "unix",
        Endpoint::Seqpacket(_) => "seqpacket",
    }
}

/// What clients can do at a place; the numbers are drawn later.
fn kinds(to: &Endpoint, speak: &Speak) -> Vec<(LoadKind, &'static str)> {
    let second = Duration::from_secs(1);
    let churn = (LoadKind::Churn, "churn");
    let kept = (LoadKind::KeepAlive { connections: 1, lifetime: second }, "keep-alive");
    let idle = (LoadKind::Idle { connections: 1 }, "idle");
    let stream = (LoadKind::Stream { pace: Pace::default(), half_close: 0.0 }, "stream");
    match (to, speak) {
        (Endpoint::Udp, _) => vec![(LoadKind::Udp { flows: 1 }, "datagrams")],
        (_, Speak::Http(_)) => vec![churn, kept],
        (Endpoint::Seqpacket(_), Speak::Echo) => vec![churn, kept, idle],
        (Endpoint::Tcp | Endpoint::Unix(_), Speak::Echo) => vec![churn, kept, idle, stream],
    }
}

/// Draws how many there are of a population, how often they act and how much they say.
fn details(mut load: Load, chance: &mut StdRng) -> Load {
    load.arrivals = if chance.random_bool(0.7) { Arrivals::Poisson } else { Arrivals::Uniform };
    let mut sizes = |least: f64, most: f64| {
        let one = whole(scaled(chance, least, most));
        let other = whole(scaled(chance, least, most));
        (one.min(other), one.max(other))
    };
    let (kind, payload) = match load.kind {
        LoadKind::Churn => (LoadKind::Churn, sizes(1.0, 16384.0)),
        LoadKind::KeepAlive { .. } => (load.kind, sizes(1.0, 16384.0)),
        LoadKind::Idle { .. } => (load.kind, sizes(1.0, 1024.0)),
        LoadKind::Stream { .. } => (load.kind, sizes(4096.0, 262_144.0)),
        LoadKind::Udp { .. } => (load.kind, sizes(16.0, 512.0)),
    };
    load.kind = match kind {
        LoadKind::Churn => {
            load.rate = scaled(chance, 30.0, 800.0);
            kind
        }
        LoadKind::KeepAlive { .. } => {
            load.rate = scaled(chance, 20.0, 300.0);
            LoadKind::KeepAlive {
                connections: whole(scaled(chance, 1.0, 32.0)),
                lifetime: millis(chance, 50.0, 2000.0),
            }
        }
        LoadKind::Idle { .. } => {
            let connections = whole(scaled(chance, 1.0, 100.0));
            load.rate = scaled(chance, 50.0, 400.0);
            LoadKind::Idle { connections }
        }
        LoadKind::Stream { .. } => {
            load.rate = scaled(chance, 1.0, 20.0);
            stream(payload.1, chance)
        }
        LoadKind::Udp { .. } => {
            load.rate = scaled(chance, 20.0, 300.0);
            LoadKind::Udp { flows: whole(scaled(chance, 1.0, 32.0)) }
        }
    };
    if load.speak == Speak::Echo {
        load.payload = payload;
    }
    load
}

/// A stream that takes a second and a half at the most, however slow it is.
fn stream(largest: usize, chance: &mut StdRng) -> LoadKind {
    let slowest = largest as f64 / 1.5;
    let mut pace = || {
        let slow = chance.random_bool(0.4);
        let pace = scaled(chance, slowest.max(1000.0), slowest.max(1000.0) * 8.0);
        slow.then(|| whole(pace)).and_then(|pace| u64::try_from(pace).ok())
    };
    let pace = Pace { send: pace(), receive: pace() };
    let half_close = if chance.random_bool(0.5) { 0.25 } else { 0.0 };
    LoadKind::Stream { pace, half_close }
}

/// What was rounded is small and not negative.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
fn whole(number: f64) -> usize {
    number.max(1.0) as usize
}

/// Has the rate of a population change, slowly or at the moments that matter.
fn swell(load: &mut Load, phases: Phases, chance: &mut StdRng) {
    if chance.random_bool(0.25) {
        let to = (load.rate * scaled(chance, 25.0, 300.0) / 100.0).max(1.0);
        let over = phases.storm.mul_f64(0.5);
        load.ramp = Some(Ramp { begin: phases.warmup, over, to });
    }
    if load.kind != LoadKind::Churn || chance.random_bool(0.5) {
        return;
    }
    for _ in 0..chance.random_range(1..=3) {
        load.bursts.push(Burst {
            on: Anchor::ALL.choose(chance).copied().unwrap_or(Anchor::Trigger),
            offset: Offset(chance.random_range(-5_000..=5_000) * 1000),
            count: whole(scaled(chance, 4.0, 64.0)).try_into().unwrap_or(4),
        });
    }
}

fn upgrades(chance: &mut StdRng) -> Upgrades {
    let every = if chance.random_bool(0.3) { Duration::ZERO } else { millis(chance, 10.0, 800.0) };
    let max_alive = whole(scaled(chance, 2.0, 12.0));
    let most = if chance.random_bool(0.7) { u64::MAX } else { chance.random_range(1..=12) };
    Upgrades { every, max_alive, most }
}

/// Faults for some of the upgrades of about half of all schedules, each with the
/// right answer to it. A server that runs already is never harmed.
fn faults(base: &Plan, chance: &mut StdRng) -> Vec<Fault> {
    if base.target.attach.is_some() || chance.random_bool(0.5) {
        return Vec::new();
    }
    let possible = possible_faults(base);
    let (mut faults, mut free) = (Vec::new(), (1..=LATEST_FAULT).collect::<Vec<u64>>());
    for _ in 0..chance.random_range(1..=2) {
        // Of two that are due at once, one would have to wait for an upgrade more.
        let (mut hit, rest) = free.into_iter().partition::<Vec<_>, _>(|_| chance.random_bool(0.25));
        free = rest;
        let entry = possible.choose(chance).copied();
        if let Some(entry) = entry.filter(|_| !hit.is_empty()) {
            let kind = lasting(entry.kind, chance);
            if kind != entry.kind {
                hit.truncate(1);
            }
            let (id, when) = (entry.id.to_owned(), When::Upgrades(hit));
            faults.push(Fault { id, kind, when, expect: entry.usual() });
        }
    }
    faults
}

/// How long a successor takes that is slow: so long, often, that clients of a service
/// which does not serve meanwhile lose their patience.
fn lasting(kind: FaultKind, chance: &mut StdRng) -> FaultKind {
    match kind {
        FaultKind::Shim { misdeed: misdeed @ Misdeed::Slow, .. } => {
            let after = Duration::from_millis(chance.random_range(100..=2500));
            FaultKind::Shim { misdeed, after }
        }
        FaultKind::Shim { .. }
        | FaultKind::KillBeforeReady
        | FaultKind::AfterReady { .. }
        | FaultKind::Path(_) => kind,
    }
}

/// What can be done to this server many times in a few seconds.
fn possible_faults(base: &Plan) -> Vec<&'static Entry> {
    let replaceable = base.target.command.iter().any(|argument| argument.contains("{shim:"));
    let possible = |entry: &&Entry| entry.is_prompt() && (replaceable || !entry.kind.needs_path());
    ENTRIES.iter().filter(possible).collect()
}

#[cfg(test)]
mod tests;
