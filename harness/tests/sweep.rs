//! Sweeps of a server that survives them, and of one that does not. A few points of
//! each; ci/sweep tries all of them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

/// A server and light load in the machine's own network: what a sweep proves, no other
/// traffic can spoil.
fn scenario(directory: &TempDir, command: &str, target: &str) -> String {
    let path = directory.path().join("swept.toml");
    let text = format!(
        r#"
schema = "harness/scenario/1"
name = "swept"
[target]
command = [{command}]
greeting = "generation {{generation}} pid {{pid}}"
{target}
[network]
namespace = "host"
[phases]
storm = "1s"
[[load]]
name = "churn"
kind = "churn"
rate = 200
stall = "8s"
[upgrades]
every = "1s"
"#
    );
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn echo_server(directory: &TempDir) -> String {
    let command = r#""{bin:echo-server}", "--listen", "{addr}", "--control", "{dir}/control",
        "--pid-file", "{dir}/pid", "--greeting", "--ready-deadline", "2s""#;
    let target = r#"trigger = { socket = "{dir}/control", send = '{"command":"upgrade"}' }"#;
    scenario(directory, command, target)
}

/// How a sweep ends, and what it has to say.
fn swept(scenario: &str, arguments: &[&str]) -> (Option<i32>, Value) {
    let all = [&["sweep", scenario, "--format", "json"], arguments].concat();
    let output = Command::new(env!("CARGO_BIN_EXE_harness")).args(all).output().unwrap();
    let result = serde_json::from_slice(&output.stdout);
    assert!(result.is_ok(), "{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code(), result.unwrap())
}

fn points(result: &Value) -> &Vec<Value> {
    result["points"].as_array().unwrap()
}

#[test]
fn a_successor_can_be_killed_anywhere_without_harm() {
    let directory = TempDir::new().unwrap();
    let (code, result) = swept(
        &echo_server(&directory),
        &["--who", "successor", "--step", "25", "--healthy-every", "4"],
    );
    assert_eq!(code, Some(0), "{result:#}");
    assert_eq!((&result["failed"], &result["complete"]), (&0.into(), &true.into()), "{result:#}");
    let phases = ["born", "started", "passed"];
    let seen = |phase: &&str| points(&result).iter().any(|point| point["phase"] == **phase);
    assert!(phases.iter().all(seen), "{result:#}");
    assert!(points(&result).iter().all(|point| point["ended"] == serde_json::json!({"signal": 9})));
}

#[test]
fn a_predecessor_that_is_killed_takes_nobody_with_it_but_its_own_clients() {
    let directory = TempDir::new().unwrap();
    let (code, result) = swept(
        &echo_server(&directory),
        &["--who", "predecessor", "--from", "3", "--step", "40", "--to", "500"],
    );
    assert_eq!((code, &result["failed"]), (Some(0), &0.into()), "{result:#}");
    let outcome = |wanted| points(&result).iter().filter(|it| it["outcome"] == wanted).count();
    assert!(outcome("deserted") > 0 && outcome("met") > 0, "{result:#}");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_call_that_fails_fails_the_upgrade_at_the_most() {
    let directory = TempDir::new().unwrap();
    for who in ["successor", "predecessor"] {
        let arguments = ["--errors", "--who", who, "--from", "20", "--step", "60", "--to", "400"];
        let (code, result) = swept(&echo_server(&directory), &arguments);
        assert_eq!((code, &result["failed"]), (Some(0), &0.into()), "{result:#}");
        let told = |point: &Value| point["completed"] == true || point["told"].is_string();
        assert!(points(&result).iter().filter(|it| it["outcome"] == "met").all(told));
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_successor_that_would_be_deaf_to_signals_is_given_up() {
    let directory = TempDir::new().unwrap();
    let arguments = ["--errors", "--who", "successor", "--call", "rt_sigprocmask", "--to", "1"];
    let (code, result) = swept(&echo_server(&directory), &arguments);
    assert_eq!(code, Some(0), "{result:#}");
    assert_eq!(points(&result).len(), 1, "{result:#}");
    let point = &points(&result)[0];
    assert_eq!((&point["phase"], &point["completed"]), (&"born".into(), &false.into()));
    assert!(point["told"].to_string().contains("set the signals"), "{point:#}");
}

#[test]
fn a_server_that_lets_go_of_its_sockets_too_early_is_convicted() {
    let directory = TempDir::new().unwrap();
    let server =
        format!("\"{}\", \"--listen\", \"{{addr}}\"", env!("CARGO_BIN_EXE_control-server"));
    let path = scenario(&directory, &server, "ready_timeout = \"3s\"");
    let (code, result) = swept(&path, &["--who", "successor", "--from", "60"]);
    assert_eq!(code, Some(1), "{result:#}");
    // When its successor is killed that is ready, and has no client yet, nobody is left.
    let wrong = |point: &Value| point["wrong"].to_string().contains("nobody was left to serve");
    assert!(points(&result).iter().any(wrong), "{result:#}");
}

#[test]
fn what_cannot_be_swept_is_refused() {
    let directory = TempDir::new().unwrap();
    let path = scenario(
        &directory,
        r#""true", "{addr}""#,
        r#"trigger = { signal = "SIGHUP", to = "main" }"#,
    );
    let output = Command::new(env!("CARGO_BIN_EXE_harness"))
        .args(["sweep", &path, "--who", "successor"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("serving process"));
}
