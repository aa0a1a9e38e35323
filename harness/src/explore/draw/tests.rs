use std::path::Path;

use proptest::prelude::*;

use super::super::bounds::MOST_RATE;
use super::*;

const BASE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/every-population.toml");

fn base() -> (Plan, Vary) {
    let path = Path::new(BASE);
    (Plan::load(path, None).unwrap().0, Vary::load(path).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_seed_and_the_number_decide_everything(seed: u64, number in 1_u64..1_000_000) {
        let (base, vary) = base();
        let plan = draw(&base, &vary, seed, number);
        prop_assert_eq!(&plan, &draw(&base, &vary, seed, number));
        prop_assert_ne!(&plan, &draw(&base, &vary, seed, number + 1));
        prop_assert_ne!(&plan, &draw(&base, &vary, seed.wrapping_add(1), number));
    }

    #[test]
    fn what_is_drawn_can_be_written_and_is_read_back_the_same(seed: u64, number: u64) {
        let (base, vary) = base();
        let plan = draw(&base, &vary, seed, number);
        prop_assert_eq!(Some(plan.clone()), sound(plan));
    }

    #[test]
    fn what_is_drawn_is_within_bounds(seed: u64, number: u64) {
        let (base, vary) = base();
        let plan = draw(&base, &vary, seed, number);
        let rates: f64 = plan.loads.iter().map(|load| load.rate).sum();
        // No rate is below one, however many there are.
        prop_assert!(rates <= MOST_RATE + plan.loads.len() as f64, "{}", rates);
        prop_assert!(plan.loads.iter().any(|load| load.kind == LoadKind::Churn));
        let lasts = plan.phases.warmup + plan.phases.baseline + plan.phases.storm + plan.phases.settle;
        prop_assert!(lasts >= Duration::from_secs(1) && lasts <= Duration::from_secs(6));
    }
}

#[test]
fn a_population_does_not_change_because_another_is_there() {
    let (base, vary) = base();
    let fewer = Plan { loads: base.loads[..1].to_vec(), ..base.clone() };
    let mut compared = 0;
    for number in 0..50 {
        let all = draw(&base, &vary, 7, number);
        for load in draw(&fewer, &vary, 7, number).loads {
            // Rates may have been lowered with those of the others.
            let same = all.loads.iter().find(|other| other.name == load.name);
            if let Some(same) = same {
                assert_eq!((same.kind, same.payload), (load.kind, load.payload));
                assert_eq!(same.bursts, load.bursts);
                compared += 1;
            }
        }
    }
    assert!(compared > 20, "{compared}");
}

#[test]
fn everything_that_can_be_drawn_is_drawn() {
    let (base, vary) = base();
    let plans: Vec<Plan> = (0..200).map(|number| draw(&base, &vary, 1, number)).collect();
    for load in everybody(&base) {
        let drawn = plans.iter().any(|plan| plan.loads.iter().any(|one| one.name == load.name));
        assert!(drawn, "{}", load.name);
    }
    for entry in possible_faults(&base) {
        let is_it = |fault: &Fault| Entry::of(fault).is_some_and(|(of, _)| of.name == entry.name);
        assert!(plans.iter().any(|plan| plan.faults.iter().any(is_it)), "{}", entry.name);
    }
    for (flag, values) in &vary.arguments {
        for value in values {
            let has = |plan: &Plan| {
                plan.target.command.windows(2).any(|two| two[0] == *flag && two[1] == *value)
            };
            assert!(plans.iter().any(has), "{flag} {value}");
        }
    }
    let bursts = |plan: &Plan| plan.loads.iter().any(|load| !load.bursts.is_empty());
    let ramps = |plan: &Plan| plan.loads.iter().any(|load| load.ramp.is_some());
    let back_to_back = |plan: &Plan| plan.upgrades.is_some_and(|all| all.every.is_zero());
    assert!(plans.iter().any(bursts) && plans.iter().any(ramps) && plans.iter().any(back_to_back));
}
