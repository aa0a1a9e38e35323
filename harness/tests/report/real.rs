//! A real run of a broken server, and what others make of its files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::report;
use tempfile::TempDir;

use super::schema::objections;

/// A server that loses connections at each upgrade, judged for a second.
const SCENARIO: &str = r#"
schema = "harness/scenario/1"
name = "stop-start"
[target]
command = ["{server}", "--listen", "{addr}"]
greeting = "generation {generation} pid {pid}"
trigger = { signal = "SIGHUP", to = "main" }
[phases]
warmup = "0s"
baseline = "200ms"
storm = "1s"
settle = "0s"
[[load]]
name = "churn"
kind = "churn"
rate = 2000
[upgrades]
every = "200ms"
[observer]
lateness_p99 = "10s"
hiccup_max = "10s"
"#;

fn run(dir: &Path) -> PathBuf {
    let scenario = dir.join("stop-start.toml");
    let server = env!("CARGO_BIN_EXE_control-stop-start");
    fs::write(&scenario, SCENARIO.replace("{server}", server)).unwrap();
    let out = dir.join("out");
    let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
    let run = command.arg("run").arg(scenario).arg("--out").arg(&out).output().unwrap();
    assert_eq!(run.status.code(), Some(1), "{}", String::from_utf8_lossy(&run.stderr));
    out
}

#[test]
fn a_real_run_leaves_what_others_can_read() {
    let dir = TempDir::new().unwrap();
    let out = run(dir.path());
    let text = fs::read_to_string(out.join("result.json")).unwrap();
    let result = serde_json::from_str(&text).unwrap();
    assert_eq!(objections(&result), Vec::<String>::new());
    let report = report::parse(&text).unwrap();
    assert_eq!(report::json(&report).unwrap(), text);
}
