//! Whether a run ended as its scenario says it must, and what that is worth.

use serde::Serialize;

use super::result::RunResult;
use crate::scenario::expect::{Ending, Expect};

/// What is wrong with this result, if it is not the one that was expected.
pub(super) fn complaint(expect: &Expect, result: &RunResult) -> Option<String> {
    if result.verdict != expect.verdict {
        return Some(other_verdict(expect, result));
    }
    let missed: Vec<&str> =
        expect.checks.iter().map(String::as_str).filter(|id| !failed(result, id)).collect();
    if !missed.is_empty() {
        return Some(format!("the harness is blind: {} did not fail", missed.join(", ")));
    }
    if !expect.harm.is_empty() && charged(expect, result) == 0 {
        let named = named(expect);
        return Some(format!("it is not convicted of {named}, but of {}", listed(result)));
    }
    let others: Vec<String> = result
        .found()
        .filter(|(id, _)| expect.only && expect.harm.iter().all(|harm| harm.id() != *id))
        .map(|(id, count)| format!("{count} x {id}"))
        .collect();
    if !others.is_empty() {
        return Some(format!("harm is found that was not done: {}", others.join(", ")));
    }
    None
}

fn other_verdict(expect: &Expect, result: &RunResult) -> String {
    let got = result.verdict.id();
    match expect.verdict {
        Ending::Pass => format!("it must pass, and ended as {got} ({})", listed(result)),
        Ending::Fail => format!("the harness is blind to {}: {got}", named(expect)),
        Ending::Inconclusive => {
            format!("it proves too little, and the harness must say so: {got}")
        }
    }
}

fn failed(result: &RunResult, id: &str) -> bool {
    result.gates.iter().any(|gate| gate.id == id && gate.status == "fail")
}

fn named(expect: &Expect) -> String {
    let harms = expect.harm.iter().map(|harm| harm.id().to_owned());
    let all: Vec<String> = harms.chain(expect.checks.iter().cloned()).collect();
    if all.is_empty() { "what is wrong".to_owned() } else { all.join(" or ") }
}

fn listed(result: &RunResult) -> String {
    let found: Vec<String> = result.found().map(|(id, count)| format!("{count} x {id}")).collect();
    if found.is_empty() { "no harm".to_owned() } else { found.join(", ") }
}

/// How much of the harm that was expected was found.
fn charged(expect: &Expect, result: &RunResult) -> u64 {
    let wanted = |id: &str| expect.harm.iter().any(|harm| harm.id() == id);
    result.found().filter(|(id, _)| wanted(id)).map(|(_, count)| count).sum()
}

/// What a conviction says about the next run of the same control.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Power {
    /// Harm per upgrade.
    #[serde(rename = "lambda_per_upgrade")]
    pub(super) rate: f64,
    /// Upgrades in a run.
    pub(super) upgrades: u64,
    /// The probability that as many upgrades do no harm at all, if harm is done
    /// at random: e^-λn.
    #[serde(rename = "missed_probability")]
    pub(super) missed: f64,
}

/// The power of a control. None where no harm was expected, or none was found.
pub(super) fn power(expect: &Expect, result: &RunResult) -> Option<Power> {
    let (count, upgrades) = (charged(expect, result), result.upgrade_totals.completed);
    if count == 0 || upgrades == 0 {
        return None;
    }
    let rate = lossy(count) / lossy(upgrades);
    Some(Power { rate, upgrades, missed: (-rate * lossy(upgrades)).exp() })
}

/// For a rate, beyond four thousand million more does not matter.
fn lossy(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Harm;

    fn result(verdict: &str, harm: &[(&str, u64)], failed: &[&str]) -> RunResult {
        let harm: serde_json::Map<_, _> = harm
            .iter()
            .map(|(id, count)| ((*id).to_owned(), serde_json::json!({ "count": count })))
            .collect();
        let gates: Vec<_> =
            failed.iter().map(|id| serde_json::json!({ "id": id, "status": "fail" })).collect();
        serde_json::from_value(serde_json::json!({
            "schema": "harness/result/1",
            "verdict": verdict,
            "gates": gates,
            "harm": harm,
            "upgrade_totals": { "completed": 20 },
            "populations": [],
        }))
        .unwrap()
    }

    fn must_fail(harm: &[Harm], only: bool, checks: &[&str]) -> Expect {
        let checks = checks.iter().map(|id| (*id).to_owned()).collect();
        Expect { verdict: Ending::Fail, harm: harm.to_vec(), only, checks }
    }

    #[test]
    fn a_control_must_be_convicted_of_what_it_does() {
        let expect = must_fail(&[Harm::Refused, Harm::ResetQueue], false, &[]);
        let convicted = result("fail", &[("reset_queue", 3), ("refused", 0)], &[]);
        assert_eq!(complaint(&expect, &convicted), None);
        let blind = complaint(&expect, &result("pass", &[], &[])).unwrap();
        assert!(blind.contains("blind to refused or reset_queue"), "{blind}");
        let other = complaint(&expect, &result("fail", &[("timeout", 3)], &[])).unwrap();
        assert!(other.contains("but of 3 x timeout"), "{other}");
    }

    #[test]
    fn a_control_that_names_all_its_harm_must_do_no_other() {
        let expect = must_fail(&[Harm::Refused], true, &[]);
        assert_eq!(complaint(&expect, &result("fail", &[("refused", 1)], &[])), None);
        let more = result("fail", &[("refused", 1), ("timeout", 2)], &[]);
        assert!(complaint(&expect, &more).unwrap().contains("2 x timeout"));
    }

    #[test]
    fn a_control_can_be_convicted_by_a_check() {
        let expect = must_fail(&[], false, &["law.L10"]);
        assert_eq!(complaint(&expect, &result("fail", &[], &["law.L10"])), None);
        let missed = complaint(&expect, &result("fail", &[], &["law.L9"])).unwrap();
        assert!(missed.contains("law.L10"), "{missed}");
    }

    #[test]
    fn the_innocent_must_pass_without_any_harm() {
        let expect = Expect { only: true, ..Expect::pass() };
        assert_eq!(complaint(&expect, &result("pass", &[("refused", 0)], &[])), None);
        assert!(complaint(&expect, &result("pass", &[("refused", 1)], &[])).is_some());
        let convicted = complaint(&expect, &result("fail", &[("refused", 1)], &[])).unwrap();
        assert!(convicted.contains("must pass"), "{convicted}");
        let weak = Expect { verdict: Ending::Inconclusive, ..Expect::pass() };
        assert!(complaint(&weak, &result("pass", &[], &[])).is_some());
    }

    #[test]
    fn the_power_is_that_of_a_poisson_process() {
        let expect = must_fail(&[Harm::ResetQueue], false, &[]);
        let power = power(&expect, &result("fail", &[("reset_queue", 5), ("refused", 9)], &[]));
        let power = power.unwrap();
        assert!((power.rate - 0.25).abs() < 1e-12 && power.upgrades == 20);
        assert!((power.missed - (-5.0_f64).exp()).abs() < 1e-12);
        assert_eq!(super::power(&Expect::pass(), &result("pass", &[], &[])), None);
    }
}
