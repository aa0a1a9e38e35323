use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::super::draw::draw;
use super::super::sound::Size;
use super::*;
use crate::scenario::plan::LoadKind;
use crate::scenario::vary::Vary;

fn drawn(seed: u64) -> Plan {
    let path =
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/every-population.toml"));
    let (base, vary) = (Plan::load(path, None).unwrap().0, Vary::load(path).unwrap());
    draw(&base, &vary, seed, 1)
}

fn shrunk(plan: Plan, fails: impl Fn(&Plan) -> bool) -> Search {
    assert!(fails(&plan), "what does not fail is not shrunk");
    shrink(plan, None, &mut |plan, _| if fails(plan) { Answer::Fails } else { Answer::Holds })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_always_fails_becomes_as_small_as_can_be(seed: u64) {
        let search = shrunk(drawn(seed), |_| true);
        let size = Size::of(&search.plan);
        prop_assert_eq!((size.populations, size.upgrades, size.faults), (1, Some(0), 0));
        prop_assert!(search.finished);
        let load = &search.plan.loads[0];
        prop_assert!(load.rate <= 1.0 && load.bursts.is_empty() && load.ramp.is_none());
        prop_assert!(search.plan.phases.storm <= Duration::from_millis(100));
    }

    /// What is needed stays, each by a rule of its own.
    #[test]
    fn what_is_needed_is_kept(seed: u64, most in 2_u64..9, pick: u8) {
        let plan = drawn(seed);
        let name = plan.loads[usize::from(pick) % plan.loads.len()].name.clone();
        let rate = plan.loads.iter().find(|load| load.name == name).unwrap().rate / 3.0;
        let fails = |plan: &Plan| {
            let enough = |load: &crate::scenario::plan::Load| load.name == name && load.rate >= rate;
            plan.upgrades.is_some_and(|all| all.most >= most) && plan.loads.iter().any(enough)
        };
        let plan = Plan {
            upgrades: plan.upgrades.map(|all| crate::scenario::plan::Upgrades { most: 40, ..all }),
            ..plan
        };
        let search = shrunk(plan, fails);
        prop_assert!(fails(&search.plan));
        let size = Size::of(&search.plan);
        prop_assert_eq!((size.populations, size.faults), (1, 0));
        prop_assert_eq!(size.upgrades, Some(most));
        prop_assert!(search.plan.loads[0].rate < 2.0 * rate + 2.0);
    }

    /// A minimum is one: nothing that would still be proposed fails.
    #[test]
    fn two_that_fail_only_together_are_both_kept(seed: u64) {
        let plan = drawn(seed);
        let names: Vec<String> = plan.loads.iter().map(|load| load.name.clone()).collect();
        let (first, last) = (names[0].clone(), names[names.len() - 1].clone());
        let has = |plan: &Plan, name: &String| plan.loads.iter().any(|load| load.name == *name);
        let search = shrunk(plan, |plan| has(plan, &first) && has(plan, &last));
        let wanted = if first == last { 1 } else { 2 };
        prop_assert_eq!(search.plan.loads.len(), wanted);
    }
}

#[test]
fn the_upgrades_around_the_first_harm_are_found_at_once() {
    let plan = drawn(3);
    let endless =
        plan.upgrades.map(|all| crate::scenario::plan::Upgrades { most: u64::MAX, ..all });
    let plan = Plan { upgrades: endless, ..plan };
    let mut tried = Vec::new();
    let search = shrink(plan, Some(30), &mut |plan, what| {
        let most = plan.upgrades.map_or(0, |all| all.most);
        if what == "upgrades" {
            tried.push(most);
        }
        if most >= 31 { Answer::Fails } else { Answer::Holds }
    });
    assert_eq!(search.plan.upgrades.map(|all| all.most), Some(31));
    assert_eq!(tried[..7], [0, 1, 1, 2, 5, 30, 32], "{tried:?}");
}

/// What one upgrade does to one client of many was kept with several upgrades.
#[test]
fn one_upgrade_that_needs_more_clients_gets_them() {
    let plan = drawn(7);
    let plan = Plan {
        upgrades: plan.upgrades.map(|all| crate::scenario::plan::Upgrades { most: 9, ..all }),
        ..plan
    };
    let rate = |plan: &Plan| plan.loads.iter().map(|load| load.rate).sum::<f64>();
    let needed = rate(&plan).min(1200.0);
    let upgrades = |plan: &Plan| plan.upgrades.map_or(0, |all| all.most);
    let search =
        shrunk(plan, |plan| upgrades(plan) > 1 || upgrades(plan) == 1 && rate(plan) >= needed);
    assert_eq!(upgrades(&search.plan), 1);
    assert!(rate(&search.plan) >= needed);
}

#[test]
fn a_search_without_time_says_so_and_keeps_what_it_has() {
    let mut left = 3;
    let search = shrink(drawn(5), None, &mut |_, _| {
        if left == 0 {
            return Answer::Enough;
        }
        left -= 1;
        Answer::Fails
    });
    assert!(!search.finished);
    assert_eq!(search.tried, 3);
    assert_eq!(search.larger.len(), 3);
    assert_ne!(search.larger.last(), Some(&search.plan));
}

#[test]
fn nothing_is_tried_twice() {
    let mut seen = HashSet::new();
    shrink(drawn(11), Some(4), &mut |plan, _| {
        assert!(seen.insert(plan.to_toml()), "{}", plan.to_toml());
        let idle = |load: &crate::scenario::plan::Load| matches!(load.kind, LoadKind::Idle { .. });
        if plan.loads.iter().any(idle) { Answer::Holds } else { Answer::Fails }
    });
    assert!(seen.len() > 5);
}
