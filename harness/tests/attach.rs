//! A server that runs already is judged, and is never touched but for what the
//! scenario says.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use assert_cmd::assert::Assert;
use serde_json::Value;
use tempfile::TempDir;

/// A control's supervisor with its worker, started as anybody would.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start() -> Self {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_control-stop-start"))
            .args(["--listen", &address.to_string()])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        while TcpStream::connect(address).is_err() {
            std::thread::yield_now();
        }
        Self { process, address }
    }

    fn pid(&self) -> String {
        self.process.id().to_string()
    }

    /// That nobody has ended it, and it still serves.
    fn is_well(&mut self) {
        assert_eq!(self.process.try_wait().unwrap(), None);
        TcpStream::connect(self.address).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // By SIGTERM, so that the supervisor takes its worker with it.
        let asked = Command::new("/bin/kill").arg(self.pid()).status();
        if !asked.is_ok_and(|status| status.success()) {
            drop(self.process.kill());
        }
        drop(self.process.wait());
    }
}

/// A scenario that names no server, and what else it says.
fn scenario(directory: &TempDir, more: &str) -> String {
    let path = directory.path().join("some.toml");
    let text = format!(
        r#"
schema = "harness/scenario/1"
name = "some"
{more}
[phases]
warmup = "0s"
baseline = "200ms"
storm = "1500ms"
settle = "200ms"
[[load]]
name = "churn"
kind = "churn"
rate = 500
stall = "10s"
[coverage]
connections = 100
[observer]
lateness_p99 = "10s"
lateness_max = "10s"
hiccup_max = "10s"
"#
    );
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

const GREETING: &str = "[target]\ngreeting = \"generation {generation} pid {pid}\"\n";
const UPGRADES: &str = "[upgrades]\nevery = \"200ms\"\n";

fn attach(scenario: &str, arguments: &[&str]) -> Assert {
    let arguments = [&["attach", scenario], arguments].concat();
    assert_cmd::Command::new(env!("CARGO_BIN_EXE_harness")).args(arguments).assert()
}

fn said(assert: &Assert) -> String {
    let output = assert.get_output();
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn result(out: &Path) -> Value {
    serde_json::from_slice(&fs::read(out.join("result.json")).unwrap()).unwrap()
}

fn gate<'a>(result: &'a Value, id: &str) -> &'a Value {
    let gates = result["gates"].as_array().unwrap();
    gates.iter().find(|gate| gate["id"] == id).unwrap()
}

/// Clients that were turned away while nobody listened. Whether they are refused, or
/// reset in a queue that was closed, is a matter of microseconds.
fn lost(result: &Value) -> u64 {
    let harms = ["refused", "reset_connect", "reset_queue", "stall_syn"];
    harms.map(|harm| result["harm"][harm]["count"].as_u64().unwrap()).iter().sum()
}

#[test]
fn a_server_that_is_left_alone_passes_and_is_there_afterwards() {
    let (mut server, directory) = (Server::start(), TempDir::new().unwrap());
    let scenario = scenario(&directory, GREETING);
    let (out, address) = (directory.path().join("out"), server.address.to_string());
    let assert = attach(&scenario, &["--connect", &address, "--out", out.to_str().unwrap()]);
    let text = said(&assert.code(0));
    assert!(text.contains("VERDICT  PASS"), "{text}");
    let result = result(&out);
    assert_eq!(result["target"], address);
    // What cannot be known of it is not taken for proved.
    for id in ["law.L3", "law.L9.processes", "processes.exits", "kernel.unexplained"] {
        assert_eq!(gate(&result, id)["status"], "not_checked", "{id}");
    }
    assert_eq!(result["leaked"], Value::Array(Vec::new()));
    server.is_well();
}

#[test]
fn a_broken_restart_is_convicted_with_its_process_known() {
    let (mut server, directory) = (Server::start(), TempDir::new().unwrap());
    let pid_file = directory.path().join("server.pid");
    fs::write(&pid_file, server.pid() + "\n").unwrap();
    let trigger = "trigger = { signal = \"SIGHUP\", to = \"main\" }\n";
    let scenario = scenario(&directory, &format!("{GREETING}{trigger}{UPGRADES}"));
    let (out, address) = (directory.path().join("out"), server.address.to_string());
    let known = ["--connect", &address, "--pid-file", pid_file.to_str().unwrap()];
    attach(&scenario, &[&known[..], &["--out", out.to_str().unwrap()]].concat()).code(1);
    let result = result(&out);
    assert!(lost(&result) > 0, "{}", result["harm"]);
    assert_eq!(result["harm"]["wrong_generation"]["count"], 0);
    assert!(result["upgrade_totals"]["completed"].as_u64().unwrap() > 1);
    // The supervisor first, then a worker for each upgrade.
    let generations = result["generations"].as_array().unwrap();
    assert_eq!(generations[0]["pid"].to_string(), server.pid());
    assert!(generations.len() > 2, "{generations:?}");
    server.is_well();
}

#[test]
fn a_server_of_which_nothing_is_known_is_judged_by_what_clients_see() {
    let (mut server, directory) = (Server::start(), TempDir::new().unwrap());
    let scenario = scenario(&directory, &format!("{GREETING}{UPGRADES}"));
    let (out, address) = (directory.path().join("out"), server.address.to_string());
    let command = format!("kill -HUP {}", server.pid());
    let arguments = ["--connect", &address, "--upgrade-cmd", &command];
    attach(&scenario, &[&arguments[..], &["--out", out.to_str().unwrap()]].concat()).code(1);
    let result = result(&out);
    assert!(lost(&result) > 0, "{}", result["harm"]);
    assert_eq!(result["harm"]["wrong_generation"]["count"], 0);
    let completed = result["upgrade_totals"]["completed"].as_u64().unwrap();
    let generations = result["generations"].as_array().unwrap();
    // Each worker that answered is a generation, also the first.
    assert!(u64::try_from(generations.len()).unwrap() > completed && completed > 1);
    server.is_well();
}

#[test]
fn what_is_not_there_is_named() {
    let directory = TempDir::new().unwrap();
    let path = scenario(&directory, "");
    assert!(said(&attach(&path, &[]).code(2)).contains("--connect"));
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let nobody = nobody.to_string();
    let text = said(&attach(&path, &["--connect", &nobody]).code(6));
    assert!(text.contains(&nobody) && text.contains("refused"), "{text}");
    let file = directory.path().join("no.pid");
    let known = ["--connect", &nobody, "--pid-file", file.to_str().unwrap()];
    assert!(said(&attach(&path, &known).code(6)).contains("no.pid"));
    // It was a process.
    let mut gone = Command::new("/bin/true").spawn().unwrap();
    gone.wait().unwrap();
    let gone = gone.id().to_string();
    let text = said(&attach(&path, &["--connect", &nobody, "--pid", &gone]).code(6));
    assert!(text.contains(&format!("process {gone}")), "{text}");
    // It cannot be asked by a signal if nobody knows whom.
    let path = scenario(&directory, &format!("{GREETING}{UPGRADES}"));
    assert!(said(&attach(&path, &["--connect", &nobody]).code(2)).contains("pid_file"));
}
