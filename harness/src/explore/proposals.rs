//! Smaller plans that might still fail, the boldest first.

use std::time::Duration;

use super::bounds;
use crate::scenario::plan::{Arrivals, Load, LoadKind, Pace, Phases, Plan, Ramp, Upgrades, When};

/// How many upgrades before and after the first harm are kept.
const AROUND: u64 = 2;

/// No phase is worth shortening further.
const SHORTEST: Duration = Duration::from_millis(100);

/// One way to make a plan smaller: the plans that it proposes.
pub(super) type Pass = fn(&Plan, Option<u64>) -> Vec<Plan>;

/// Every way, in the order in which they are tried: first what leaves out most, and
/// what only makes the rest plainer at the end.
pub(super) const PASSES: [(&str, Pass); 8] = [
    ("faults", faults),
    ("populations", populations),
    ("upgrades", upgrades),
    ("bursts and ramps", swelling),
    ("rates and connections", rates),
    ("time", time),
    ("payloads", payloads),
    ("gaps", gaps),
];

fn faults(plan: &Plan, _around: Option<u64>) -> Vec<Plan> {
    let with = |faults| Plan { faults, ..plan.clone() };
    let mut proposals: Vec<Plan> = fewer(&plan.faults, 0).into_iter().map(with).collect();
    for (place, fault) in plan.faults.iter().enumerate() {
        let When::Upgrades(numbers) = &fault.when else { continue };
        // The first upgrades instead: then those before them are not needed, either.
        let earlier = numbers
            .first()
            .filter(|first| **first > 1)
            .map(|first| numbers.iter().map(|number| number - first + 1).collect::<Vec<u64>>());
        // Those that it must not miss, each alone or with fewer others.
        for numbers in earlier.into_iter().chain(fewer(numbers, 1)) {
            let mut smaller = plan.clone();
            if let Some(fault) = smaller.faults.get_mut(place) {
                fault.when = When::Upgrades(numbers);
            }
            proposals.push(smaller);
        }
    }
    proposals
}

fn populations(plan: &Plan, _around: Option<u64>) -> Vec<Plan> {
    fewer(&plan.loads, 1).into_iter().map(|loads| Plan { loads, ..plan.clone() }).collect()
}

/// Fewer of `all`: half of them, a quarter and so on, and then all but one, two and
/// so on; never fewer than `least`.
fn fewer<T: Clone>(all: &[T], least: usize) -> Vec<Vec<T>> {
    let mut proposals = Vec::new();
    if least == 0 && !all.is_empty() {
        proposals.push(Vec::new());
    }
    let mut length = all.len().div_ceil(2);
    while length >= 1 && length < all.len() {
        proposals.extend(all.chunks(length).map(<[T]>::to_vec));
        if length == 1 {
            break;
        }
        length = length.div_ceil(2);
    }
    // Of two, all but one is one, which has been proposed.
    let mut length = if all.len() > 2 { (all.len() / 4).max(1) } else { 0 };
    while length >= 1 {
        for begin in (0..all.len()).step_by(length) {
            let end = (begin + length).min(all.len());
            proposals.push([&all[..begin], &all[end..]].concat());
        }
        length /= 2;
    }
    proposals
}

/// The upgrades are one after another, so fewer are the first ones. If the number of
/// the upgrade that did the first harm means nothing, one does; if it does, those
/// before it are needed; in between, those right around it are.
fn upgrades(plan: &Plan, around: Option<u64>) -> Vec<Plan> {
    let Some(all) = plan.upgrades else { return Vec::new() };
    let near = around.map(|number| number.saturating_add(AROUND));
    let half = (all.most < u64::MAX).then_some(all.most / 2);
    let last = (all.most < u64::MAX).then_some(all.most.saturating_sub(1));
    let mut numbers: Vec<u64> = [Some(1), Some(2), Some(2 * AROUND + 1), half, around, near, last]
        .into_iter()
        .flatten()
        .filter(|number| (1..all.most).contains(number))
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    let fewer = |most| Plan { upgrades: Some(Upgrades { most, ..all }), ..plan.clone() };
    // A server may also fail when it is left alone.
    let mut proposals = vec![Plan { upgrades: None, ..plan.clone() }];
    proposals.extend(numbers.into_iter().map(fewer));
    if all.most > 1 {
        // What each of many does to few clients, one alone does hardly ever, unless
        // there are more clients.
        let mut crowded = fewer(1);
        bounds::raise(&mut crowded.loads);
        proposals.insert(2, crowded);
    }
    proposals
}

/// Without bursts and ramps, or with fewer and smaller ones.
fn swelling(plan: &Plan, _around: Option<u64>) -> Vec<Plan> {
    let mut proposals = vec![each(plan, |load| {
        load.ramp = None;
        load.bursts.clear();
    })];
    proposals.push(each(plan, |load| load.ramp = None));
    proposals.push(each(plan, |load| load.bursts.clear()));
    for (place, load) in plan.loads.iter().enumerate() {
        for bursts in fewer(&load.bursts, 0) {
            let mut smaller = plan.clone();
            if let Some(load) = smaller.loads.get_mut(place) {
                load.bursts = bursts;
            }
            proposals.push(smaller);
        }
    }
    proposals.push(each(plan, |load| {
        load.bursts.iter_mut().for_each(|burst| burst.count = burst.count.div_ceil(2));
    }));
    proposals
}

fn rates(plan: &Plan, _around: Option<u64>) -> Vec<Plan> {
    let halve = |load: &mut Load| {
        let half = |rate: f64| if rate > 1.0 { (rate / 2.0).ceil() } else { rate };
        load.rate = half(load.rate);
        load.ramp = load.ramp.map(|ramp| Ramp { to: half(ramp.to), ..ramp });
    };
    let fewer = |load: &mut Load| match &mut load.kind {
        LoadKind::Churn | LoadKind::Stream { .. } => {}
        LoadKind::KeepAlive { connections, .. }
        | LoadKind::Idle { connections }
        | LoadKind::Udp { flows: connections } => *connections = connections.div_ceil(2),
    };
    let mut proposals = vec![
        each(plan, |load| {
            halve(load);
            fewer(load);
        }),
        each(plan, halve),
        each(plan, fewer),
    ];
    for place in 0..plan.loads.len() {
        let mut smaller = plan.clone();
        if let Some(load) = smaller.loads.get_mut(place) {
            halve(load);
            fewer(load);
        }
        proposals.push(smaller);
    }
    proposals
}

fn time(plan: &Plan, _around: Option<u64>) -> Vec<Plan> {
    let half = |span: Duration| (span / 2).max(SHORTEST.min(span));
    let phases = plan.phases;
    let with = |phases| Plan { phases, ..plan.clone() };
    vec![
        with(Phases {
            warmup: half(phases.warmup),
            baseline: Duration::ZERO,
            storm: half(phases.storm),
            settle: half(phases.settle),
        }),
        with(Phases { baseline: Duration::ZERO, ..phases }),
        with(Phases { storm: half(phases.storm), ..phases }),
        with(Phases { settle: half(phases.settle), ..phases }),
        with(Phases { warmup: half(phases.warmup), ..phases }),
    ]
}

fn payloads(plan: &Plan, _around: Option<u64>) -> Vec<Plan> {
    let small = |load: &mut Load| {
        let (least, _) = load.payload;
        load.payload = (least.min(64), least.min(64));
    };
    let plain = |load: &mut Load| {
        load.arrivals = Arrivals::Uniform;
        if let LoadKind::Stream { pace, half_close } = &mut load.kind {
            (*pace, *half_close) = (Pace::default(), 0.0);
        }
    };
    let halve = |load: &mut Load| {
        let (least, most) = load.payload;
        load.payload = (least, least.max(most / 2));
    };
    vec![
        each(plan, |load| {
            small(load);
            plain(load);
        }),
        each(plan, small),
        each(plan, plain),
        each(plan, halve),
    ]
}

/// More room between upgrades, and no more processes at once than two.
fn gaps(plan: &Plan, _around: Option<u64>) -> Vec<Plan> {
    let Some(all) = plan.upgrades else { return Vec::new() };
    let with = |upgrades| Plan { upgrades: Some(upgrades), ..plan.clone() };
    let wider = if all.every.is_zero() { Duration::from_millis(100) } else { all.every * 2 };
    let mut proposals = Vec::new();
    if all.max_alive > 2 {
        proposals.push(with(Upgrades { max_alive: 2, ..all }));
    }
    // One upgrade has no distance to another, and beyond the storm none is left.
    if all.most > 1 && wider <= plan.phases.storm {
        proposals.push(with(Upgrades { every: wider, ..all }));
    }
    proposals
}

/// The plan with the same done to each population.
fn each(plan: &Plan, change: impl Fn(&mut Load)) -> Plan {
    let mut plan = plan.clone();
    plan.loads.iter_mut().for_each(change);
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_are_proposed_in_halves_and_all_but_one() {
        let proposed = |number: u32, least| fewer(&(0..number).collect::<Vec<_>>(), least);
        assert_eq!(proposed(0, 0), Vec::<Vec<u32>>::new());
        assert_eq!(proposed(1, 0), [Vec::<u32>::new()]);
        assert_eq!(proposed(1, 1), Vec::<Vec<u32>>::new());
        assert_eq!(proposed(2, 1), [[0], [1]]);
        for number in 2..9 {
            let proposals = proposed(number, 1);
            assert!(proposals.iter().all(|few| !few.is_empty() && few.len() < number as usize));
            for one in 0..number {
                assert!(proposals.contains(&vec![one]), "{number}: only {one}");
                let rest: Vec<u32> = (0..number).filter(|other| *other != one).collect();
                assert!(proposals.contains(&rest), "{number}: all but {one}");
            }
        }
    }
}
