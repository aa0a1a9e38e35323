//! Exploring, replaying and shrinking, as scripts use them: with a server that is
//! broken for certain, and with one that is left alone.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use tempfile::TempDir;

fn harness(arguments: &[&str]) -> Assert {
    Command::new(env!("CARGO_BIN_EXE_harness")).args(arguments).assert()
}

fn said(assert: &Assert) -> String {
    let output = assert.get_output();
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A server that stops before it starts its successor.
fn broken() -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("broken.toml");
    let server = env!("CARGO_BIN_EXE_control-stop-start");
    let source = format!(
        r#"
schema = "harness/scenario/1"
name = "broken"
[target]
command = ["{server}", "--listen", "{{addr}}"]
greeting = "generation {{generation}} pid {{pid}}"
trigger = {{ signal = "SIGHUP", to = "main" }}
ready_timeout = "2s"
drain_timeout = "2s"
[phases]
storm = "1s"
[[load]]
name = "churn"
kind = "churn"
rate = 500
[upgrades]
every = "200ms"
[observer]
lateness_p99 = "10s"
lateness_max = "20s"
hiccup_max = "10s"
"#
    );
    fs::write(&path, source).unwrap();
    (directory, path)
}

#[test]
fn what_is_broken_is_found_replayed_and_made_small() {
    let (directory, path) = broken();
    let out = directory.path().join("out");
    let explore = ["explore", text(&path), "--runs", "20", "--seed", "0x5eed"];
    let assert = harness(&[&explore[..], &["--until-fail", "--out", text(&out)]].concat()).code(1);
    let found = said(&assert);
    assert!(found.contains("FAILED ") && found.contains("seed 0x5eed"), "{found}");
    let lines = fs::read_to_string(out.join("explored.jsonl")).unwrap();
    let last: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!((&last["exit_code"], &last["seed"]), (&1.into(), &"0x5eed".into()), "{lines}");
    let run = out.join(format!("{:04}", last["number"].as_u64().unwrap()));
    assert!(found.contains(&format!("harness replay {}", run.display())), "{found}");

    // Nothing but the plan goes along.
    let elsewhere = directory.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::copy(run.join("plan.json"), elsewhere.join("plan.json")).unwrap();
    let assert = harness(&["replay", text(&elsewhere), "--repeat", "2"]).code(1);
    let replayed = said(&assert);
    assert!(replayed.contains("P(fail) = ") && replayed.contains("Clopper-Pearson"), "{replayed}");
    assert!(replayed.contains("  harm."), "by the kind of harm: {replayed}");
    let kept = replayed.lines().find_map(|line| line.strip_prefix("the reports are in ")).unwrap();
    fs::remove_dir_all(kept).unwrap();

    let small = directory.path().join("small.toml");
    let shrink = ["shrink", text(&run), "--runs-per-step", "1", "--budget", "20s"];
    let assert = harness(&[&shrink[..], &["--out", text(&small)]].concat()).code(0);
    let shrunk = said(&assert);
    assert!(shrunk.contains("before  populations") && shrunk.contains("after   "), "{shrunk}");
    let written = fs::read_to_string(&small).unwrap();
    assert!(written.starts_with("# Fails by ") && written.contains("harness run "), "{written}");
    let assert = harness(&["check", text(&small)]).code(0);
    let plan: serde_json::Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
    assert_eq!(plan["name"], "small");
    assert_eq!(plan["loads"].as_array().unwrap().len(), 1, "{plan}");
    // What was made small by single runs fails often, and need not each time.
    harness(&["run", text(&small), "--quiet", "--repeat", "30", "--until-fail"]).code(1);
}

#[test]
fn what_never_fails_is_said_to_and_cannot_be_made_small() {
    let (directory, path) = broken();
    let source = fs::read_to_string(&path).unwrap();
    fs::write(&path, source.replace("[upgrades]\nevery = \"200ms\"\n", "")).unwrap();
    let out = directory.path().join("out");
    harness(&["run", text(&path), "--out", text(&out), "--seed", "0x1", "-q"]).code(0);
    let assert = harness(&["replay", text(&out), "--repeat", "2"]).code(0);
    let replayed = said(&assert);
    assert!(replayed.contains("P(fail) = 0/2 = 0 %"), "{replayed}");
    assert!(replayed.contains("\n2 passed, 0 failed\n"), "{replayed}");
    let assert = harness(&["shrink", text(&out), "--runs-per-step", "1"]).code(3);
    assert!(said(&assert).contains("nothing failed"), "{}", said(&assert));
    // A plan is run as a scenario is, but nothing in it can be changed by its keys.
    let plan = out.join("plan.json");
    harness(&["run", text(&plan), "--quiet"]).code(0);
    let refused = said(&harness(&["run", text(&plan), "--duration", "1s"]).code(2));
    assert!(refused.contains("is no scenario"), "{refused}");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let (directory, path) = broken();
    harness(&["explore", text(&path)]).code(2);
    let refused = said(&harness(&["explore", text(&path), "--for", "10"]).code(2));
    assert!(refused.contains("has no unit"), "{refused}");
    harness(&["replay", "/nonexistent"]).code(2);
    harness(&["shrink", "/nonexistent"]).code(2);
    // It asks the main process, and nobody would know when that has passed on.
    let refused = said(&harness(&["soak", text(&path), "--for", "1s"]).code(2));
    assert!(refused.contains("SIGHUP"), "{refused}");
    let source = fs::read_to_string(&path).unwrap();
    let odd = directory.path().join("odd.toml");
    fs::write(&odd, format!("{source}\n[explore]\narguments.\"--nothing\" = [\"1\"]\n")).unwrap();
    let refused = said(&harness(&["explore", text(&odd), "--runs", "1"]).code(2));
    assert!(refused.contains("odd.toml:") && refused.contains("--nothing"), "{refused}");
}

/// A server that upgrades itself, with one fault or with none.
fn upgrading(arguments: &str) -> (TempDir, PathBuf) {
    let (directory, path) = broken();
    let source = fs::read_to_string(&path).unwrap();
    let broken = env!("CARGO_BIN_EXE_control-stop-start");
    let source = source
        .replace(&format!("\"{broken}\""), &format!("\"{}\"", env!("CARGO_BIN_EXE_control-server")))
        .replace("\"{addr}\"]", &format!("\"{{addr}}\"{arguments}]"))
        .replace(", to = \"main\"", "");
    fs::write(&path, source).unwrap();
    (directory, path)
}

#[test]
fn a_soak_goes_on_with_one_server_and_measures_each_fresh_generation() {
    let (directory, path) = upgrading("");
    let out = directory.path().join("out");
    let soak = ["soak", text(&path), "--for", "12s", "--seed", "0x7", "--out", text(&out)];
    let assert = harness(&soak);
    let said = said(&assert);
    // So short a soak has too few generations for a slope, and must say so.
    let code = assert.get_output().status.code();
    let few = said.contains("?   resident memory") && code == Some(3);
    let enough = said.contains("ok  resident memory") && code == Some(0);
    assert!(few || enough, "{code:?} {said}");
    for held in ["ok  goes on", "ok  descriptors", "ok  threads", "ok  processes", "ok  ends"] {
        assert!(said.contains(held), "{held}: {said}");
    }
    let summary = fs::read(out.join("soak.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_slice(&summary).unwrap();
    assert_eq!((&summary["schema"], &summary["harmed"]), (&"harness/soak/1".into(), &0.into()));
    assert!(summary["upgrades_between"].as_u64().unwrap() >= 2, "{summary}");
    assert!(summary["gauges"].as_array().unwrap().len() >= 2, "{summary}");
}

#[test]
fn a_soak_convicts_a_server_that_leaks() {
    let (_directory, path) = upgrading(", \"--fault\", \"leak-descriptor\"");
    let assert = harness(&["soak", text(&path), "--for", "12s", "--seed", "0x7"]).code(1);
    let said = said(&assert);
    assert!(said.contains("x   descriptors"), "{said}");
    let kept = said.lines().find_map(|line| line.strip_prefix("what did not pass is in "));
    fs::remove_dir_all(kept.unwrap()).unwrap();
}
