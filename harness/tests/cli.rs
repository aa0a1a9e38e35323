//! The program as scripts use it: what it refuses, how it says so, and how it ends.

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

/// A small scenario in a directory of its own: a control's worker, left alone.
fn scenario(change: impl FnOnce(String) -> String) -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("small.toml");
    let server = env!("CARGO_BIN_EXE_control-stop-start");
    let text = format!(
        r#"
schema = "harness/scenario/1"
name = "small"
[target]
command = ["{server}", "--listen", "{{addr}}"]
greeting = "generation {{generation}} pid {{pid}}"
trigger = {{ signal = "SIGHUP", to = "main" }}
[phases]
warmup = "0s"
baseline = "0s"
storm = "500ms"
settle = "0s"
[[load]]
name = "churn"
kind = "churn"
rate = 200
[coverage]
connections = 50
[observer]
lateness_p99 = "10s"
hiccup_max = "10s"
"#
    );
    fs::write(&path, change(text)).unwrap();
    (directory, path)
}

fn run(path: &Path, arguments: &[&str]) -> Assert {
    let path = path.to_str().unwrap();
    harness(&[&["run", path], arguments].concat())
}

#[test]
fn a_healthy_server_passes_and_the_report_is_left() {
    let (directory, path) = scenario(|text| text);
    let out = directory.path().join("out");
    let assert = run(&path, &["--out", out.to_str().unwrap(), "--seed", "0x5eed"]).code(0);
    let text = String::from_utf8_lossy(&assert.get_output().stdout);
    assert!(
        text.contains("VERDICT  PASS") && text.trim_end().ends_with("passed, 0 failed"),
        "{text}"
    );
    let result: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join("result.json")).unwrap()).unwrap();
    assert_eq!((&result["verdict"], &result["exit_code"]), (&"pass".into(), &0.into()));
    assert_eq!(result["seed"], "0x5eed");
    assert_eq!(result["harm"]["refused"]["count"], 0);
    assert!(result["ledger"]["dispatched"].as_u64().unwrap() >= 50);
    assert!(out.join("churn.hgrm").exists() && !out.join("recording.json").exists());
}

#[test]
fn a_broken_restart_fails_with_the_harm_by_name() {
    let (directory, path) = scenario(|text| {
        let text = text.replace("rate = 200", "rate = 2000").replace("500ms", "2s");
        format!("{text}\n[upgrades]\nevery = \"200ms\"\n")
    });
    let out = directory.path().join("out");
    let assert = run(&path, &["--out", out.to_str().unwrap()]).code(1);
    assert!(said(&assert).contains("VERDICT  FAIL"));
    let result: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join("result.json")).unwrap()).unwrap();
    assert_eq!(result["verdict"], "fail");
    let harm = |id: &str| result["harm"][id]["count"].as_u64().unwrap();
    assert!(harm("refused") + harm("reset_queue") > 0, "{}", result["harm"]);
    assert!(out.join("recording.json").exists());
}

#[test]
fn an_upgrade_can_be_a_command_and_one_that_fails_has_its_say() {
    let with = |command: &str| {
        scenario(|text| {
            let text = text.replace("signal = \"SIGHUP\", to = \"main\"", command);
            let text = text.replace("500ms", "2s");
            format!("{text}\n[upgrades]\nevery = \"200ms\"\n")
        })
    };
    let (_directory, path) = with(r#"command = ["/bin/sh", "-c", "echo no luck; exit 3"]"#);
    let text = said(&run(&path, &[]).code(1));
    assert!(text.contains("upgrades.unplanned_failures"), "{text}");
    assert!(text.contains("exit status: 3, and said: no luck"), "{text}");
    // The control is broken, but it does restart.
    let (directory, path) = with(r#"command = ["/bin/kill", "-HUP", "{pid}"]"#);
    let out = directory.path().join("out");
    run(&path, &["--out", out.to_str().unwrap()]);
    let result: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join("result.json")).unwrap()).unwrap();
    let totals = &result["upgrade_totals"];
    assert!(totals["completed"].as_u64().unwrap() > 1, "{totals}");
    assert_eq!(totals["failed"], 0, "{totals}");
}

#[test]
fn too_weak_a_load_is_inconclusive() {
    let (_directory, path) = scenario(|text| text.replace("rate = 200", "rate = 4"));
    let assert = run(&path, &["--quiet"]).code(3);
    assert!(said(&assert).contains("INCONCLUSIVE"));
}

#[test]
fn a_server_that_does_not_listen_is_its_own_exit_code() {
    let (_directory, path) =
        scenario(|text| text.replace(env!("CARGO_BIN_EXE_control-stop-start"), "/bin/false"));
    let text = said(&run(&path, &[]).code(6));
    assert!(text.contains("did not begin to listen") && text.contains("it ended"), "{text}");
    let (_directory, path) = scenario(|text| {
        text.replace(env!("CARGO_BIN_EXE_control-stop-start"), "/nonexistent/server")
    });
    let text = said(&run(&path, &[]).code(6));
    assert!(text.contains("/nonexistent/server"), "{text}");
}

#[test]
fn a_bad_scenario_is_refused_with_the_line_and_what_would_do() {
    let (_directory, path) = scenario(|text| text.replace("rate = 200", "rat = 200"));
    let text = said(&run(&path, &[]).code(2));
    assert!(
        text.contains("small.toml:") && text.contains("rat") && text.contains("rate"),
        "{text}"
    );
    let (_directory, path) = scenario(|text| text.replace("500ms", "500"));
    let text = said(&run(&path, &[]).code(2));
    assert!(text.contains("500") && text.contains("ms"), "{text}");
}

#[test]
fn bad_arguments_are_refused_before_anything_is_run() {
    let (_directory, path) = scenario(|text| text);
    assert!(said(&run(&path, &["--out", "/proc/nowhere"]).code(2)).contains("/proc/nowhere"));
    assert!(said(&run(&path, &["--seed", "x"]).code(2)).contains("0x"));
    assert!(said(&run(Path::new("/nonexistent.toml"), &[]).code(2)).contains("/nonexistent.toml"));
    harness(&["run"]).code(2);
    harness(&["frobnicate"]).code(2);
}

#[test]
fn a_plan_can_be_looked_at_and_harm_looked_up() {
    let (_directory, path) = scenario(|text| text);
    let assert = harness(&["check", path.to_str().unwrap()]).code(0);
    let plan: serde_json::Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
    assert_eq!(plan["name"], "small");
    assert!(said(&harness(&["list", "harms"]).code(0)).contains("reset_queue"));
    assert!(said(&harness(&["explain", "reset_queue"]).code(0)).contains("queue"));
    assert!(said(&harness(&["explain", "bad_luck"]).code(2)).contains("reset_queue"));
}
