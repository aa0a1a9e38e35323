use std::path::Path;

use super::super::plan::Plan;
use super::super::{check, file};
use super::*;

const SCENARIO: &str = r#"schema = "harness/scenario/1"
name = "gated"
[target]
command = ["server", "{addr}"]
greeting = "{generation} {pid}"
[[load]]
name = "churn"
kind = "churn"
rate = "6k/s"
[upgrades]
every = "100ms"
[gates]
"#;

/// The first line of a gate in [`SCENARIO`].
const FIRST: usize = 13;

fn load(source: &str) -> Result<Plan, String> {
    let path = Path::new("s.toml");
    file::parse(source)
        .and_then(|(scenario, _)| check::plan(scenario, path, 1, source))
        .map_err(|mistake| mistake.in_file(path, source).to_string())
}

fn gates(lines: &str) -> Vec<Gate> {
    load(&format!("{SCENARIO}{lines}")).unwrap_or_else(|error| panic!("{error}")).gates
}

/// That this gate is refused at this column, in words that have all of `parts`.
#[track_caller]
fn refused(line: &str, column: usize, parts: &[&str]) {
    let message = load(&format!("{SCENARIO}{line}\n")).expect_err(line);
    let place = format!("s.toml:{FIRST}:{column}: ");
    for part in parts.iter().copied().chain([place.as_str()]) {
        assert!(message.contains(part), "`{part}` is missing in:\n{message}");
    }
}

#[test]
fn every_metric_can_be_gated() {
    let lines = r#"
"harm.*" = { is = "== 0" }
"harm.reset_queue" = { is = "= 0", min_samples = 7 }
"ledger" = { is = "balanced" }
"kernel.unexplained" = { is = "== 0" }
"upgrade.unplanned_failures" = { is = "<= 1" }
"upgrade.answered.p99" = { is = "< 2s", min_samples = 100 }
"latency.churn.during.p99.9" = { is = "< 25ms", min_samples = 20000 }
"latency.churn.handover.p99" = { is = "<= 3 * baseline + 2ms" }
"latency.churn.baseline.max" = { is = ">= 1us" }
"gap.churn.max" = { is = "< 50ms" }
"resources.fds.slope_per_upgrade" = { is = "== 0" }
"processes.leaked" = { is = "== 0" }
"queue.depth.max" = { is = "< 100" }
"#;
    let gates = gates(lines);
    let of = |name: &str| gates.iter().find(|gate| gate.name == name).unwrap();
    assert_eq!(gates.len(), 13);
    assert!(gates.is_sorted_by_key(|gate| gate.line), "in the order of the file");
    assert_eq!(gates[0].line, FIRST + 1);
    assert_eq!(of("harm.reset_queue").metric, Metric::Harm(Some(Harm::ResetQueue)));
    assert_eq!(of("harm.reset_queue").min_samples, 7);
    let tail = of("latency.churn.during.p99.9");
    assert_eq!(tail.limit.comparison, Comparison::Below);
    assert_eq!(tail.limit.bound, Bound::Span(Duration::from_millis(25)));
    assert_eq!(tail.min_samples, 20_000);
    let Metric::Latency { window: Window::During, figure, .. } = &tail.metric else { panic!() };
    assert_eq!(*figure, Figure::Quantile(999_000));
    let relative = of("latency.churn.handover.p99");
    assert_eq!(
        relative.limit.bound,
        Bound::OfBaseline { factor: 3.0, slack: Duration::from_millis(2) }
    );
    assert_eq!(relative.min_samples, 1000, "ten beyond the quantile, if nothing is written");
    assert_eq!(of("resources.fds.slope_per_upgrade").min_samples, 2);
    assert_eq!(of("gap.churn.max").min_samples, 1);
}

#[test]
fn the_forms_of_a_relative_limit() {
    for (is, factor) in
        [("<= 3 * baseline + 2ms", 3.0), ("<= baseline * 1.5 + 2ms", 1.5), ("<=baseline+2ms", 1.0)]
    {
        let line = format!("\"latency.churn.after.p50\" = {{ is = \"{is}\" }}");
        let slack = Duration::from_millis(2);
        assert_eq!(gates(&line)[0].limit.bound, Bound::OfBaseline { factor, slack }, "{is}");
    }
}

#[test]
fn unknown_metrics_are_answered_with_the_known() {
    let is = "= { is = \"== 0\" }";
    for (name, parts) in [
        ("harms.*", ["is no metric", "mean `harm.*`?"]),
        ("letency.churn.during.p99", ["is no metric", "mean `latency`?"]),
        ("kernel.OutRsts", ["is no metric", "kernel.unexplained"]),
        ("harm.refusd", ["`refusd`", "mean `refused`?"]),
        ("harm", ["`` is no harm", "`refused`"]),
        ("latency.chrun.during.p99", ["`chrun` is no load", "mean `churn`?"]),
        ("latency.churn.durring.p99", ["`durring` is no window", "mean `during`?"]),
        ("latency.churn.during.p100", ["`p100` is no figure", "p99.9"]),
        ("latency.churn.during.p", ["`p` is no figure", "p99.9"]),
        ("latency.churn.during.p99.99999", ["`p99.99999` is no figure", "p99.9"]),
        ("latency.churn.during", ["`` is no figure", "max"]),
        ("gap.churn.p99", ["`p99` is no figure of a gap", "`max`"]),
        ("gap.curn.max", ["`curn` is no load", "mean `churn`?"]),
        ("upgrade.answerd.p99", ["`answerd` is no part", "mean `answered`?"]),
        ("resources.fd.slope_per_upgrade", ["`fd` is no resource", "mean `fds`?"]),
        ("resources.fds.max", ["`max` is no figure", "`slope_per_upgrade`"]),
    ] {
        refused(&format!("\"{name}\" {is}"), 1, &parts);
    }
    refused("\"ledger\" = { as = \"balanced\" }", 14, &["`as`", "mean `is`?", "`min_samples`"]);
}

#[test]
fn limits_that_mean_nothing_are_refused() {
    for (name, is, parts) in [
        ("harm.*", "0", ["`0` is no limit", "\"== 0\""]),
        ("harm.*", "< 5ms", ["`5ms` is no number", "\"== 0\""]),
        ("harm.*", "== 1e9", ["`1e9` is no number", "\"== 0\""]),
        ("ledger", "== 0", ["`== 0`", "\"balanced\""]),
        ("gap.churn.max", "< 5", ["`5` has no unit", "\"< 25ms\""]),
        ("gap.churn.max", "< 2 * baseline + 1ms", ["only latencies have a baseline", "50ms"]),
        ("latency.churn.during.p99", "25ms", ["`25ms` is no limit", "baseline + 2ms"]),
        ("latency.churn.during.p99", "< 3 * baseline", ["a ratio alone", "baseline + 2ms"]),
        ("latency.churn.during.p99", "< 3 * baseline + 0s", ["no slack", "baseline + 2ms"]),
        ("latency.churn.during.p99", "< x * baseline + 2ms", ["no multiple", "baseline + 2ms"]),
        ("latency.churn.baseline.p99", "< 3 * baseline + 2ms", ["with itself", "write a span"]),
    ] {
        let line = format!("\"{name}\" = {{ is = \"{is}\" }}");
        refused(&line, line.find("is = ").unwrap() + 6, &parts);
    }
    let few = "\"latency.churn.during.p99\" = { is = \"< 1s\", min_samples = 99 }";
    refused(few, few.find("99 }").unwrap() + 1, &["99 is too few", "100 or more"]);
    let none = "\"harm.*\" = { is = \"== 0\", min_samples = 0 }";
    refused(none, none.find("0 }").unwrap() + 1, &["1 or more"]);
}

#[test]
fn two_gates_on_one_metric_are_refused() {
    let first = "\"latency.churn.during.p99.9\" = { is = \"< 25ms\" }";
    let again = "\"latency.churn.during.p99.90\" = { is = \"< 30ms\" }";
    let message = load(&format!("{SCENARIO}{first}\n{again}\n")).unwrap_err();
    assert!(message.starts_with("s.toml:14:1: "), "{message}");
    assert!(message.contains("in line 13") && message.contains("take one out"), "{message}");
    // The same words twice are refused by the form of the file itself.
    let message = load(&format!("{SCENARIO}{first}\n{first}\n")).unwrap_err();
    assert!(message.starts_with("s.toml:14:") && message.contains("duplicate key"), "{message}");
}

#[test]
fn a_window_or_an_upgrade_that_will_not_be_is_refused() {
    let quiet = SCENARIO.replace("[upgrades]\nevery = \"100ms\"\n", "");
    for name in [
        "latency.churn.during.p99",
        "latency.churn.init.max",
        "upgrade.answered.max",
        "upgrade.unplanned_failures",
        "resources.fds.slope_per_upgrade",
    ] {
        let message = load(&format!("{quiet}\"{name}\" = {{ is = \"== 0\" }}\n")).unwrap_err();
        assert!(message.starts_with("s.toml:11:1: "), "{message}");
        assert!(message.contains("[upgrades]"), "{message}");
    }
    let hasty = SCENARIO.replace("[[load]]", "[phases]\nbaseline = \"0s\"\n[[load]]");
    let of = |name: &str, is: &str| load(&format!("{hasty}\"{name}\" = {{ is = \"{is}\" }}\n"));
    let message = of("latency.churn.baseline.p99", "< 1s").unwrap_err();
    assert!(message.contains("`baseline` lasts no time"), "{message}");
    let message = of("latency.churn.during.p99", "< 2 * baseline + 1ms").unwrap_err();
    assert!(message.contains("phases.baseline"), "{message}");
    of("latency.churn.during.p99", "< 1s").unwrap();
}
