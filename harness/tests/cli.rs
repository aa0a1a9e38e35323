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
    assert!(out.join("churn.hgrm").exists());
    judged_again(&out, 0, &assert.get_output().stdout);
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
    judged_again(&out, 1, &assert.get_output().stdout);
    let known = said(&harness(&["list", "gates"]).code(0));
    for gate in result["gates"].as_array().unwrap() {
        let id = gate["id"].as_str().unwrap();
        let known = known.lines().any(|line| {
            line == id || line.strip_suffix('*').is_some_and(|head| id.starts_with(head))
        });
        assert!(known, "`harness explain {id}` would not know it");
    }
}

/// Judges the run in `out` again, and demands that every file it leaves is, byte
/// for byte, the one that the run left.
#[track_caller]
fn judged_again(out: &Path, code: i32, said_then: &[u8]) {
    let again = out.with_extension("again");
    let arguments = ["analyze", out.to_str().unwrap(), "--out", again.to_str().unwrap()];
    let assert = harness(&arguments).code(code);
    let same = |text: &[u8], dir: &Path| {
        String::from_utf8_lossy(text).replace(dir.to_str().unwrap(), "DIR")
    };
    assert_eq!(same(&assert.get_output().stdout, &again), same(said_then, out));
    let mut names = Vec::new();
    for entry in fs::read_dir(&again).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert_eq!(fs::read(again.join(&name)).unwrap(), fs::read(out.join(&name)).unwrap());
        names.push(name);
    }
    for name in ["result.json", "report.txt", "report.html", "junit.xml", "churn.hgrm"] {
        assert!(names.iter().any(|found| found == name), "{name}: {names:?}");
    }
    // In its own directory it only writes what was there before.
    harness(&["analyze", out.to_str().unwrap(), "--quiet"]).code(code);
    for name in names {
        assert_eq!(fs::read(again.join(&name)).unwrap(), fs::read(out.join(&name)).unwrap());
    }
}

#[test]
fn a_recording_can_be_left_out_and_then_nothing_can_be_judged_again() {
    let (directory, path) = scenario(|text| text);
    let out = directory.path().join("out");
    let out = out.to_str().unwrap();
    run(&path, &["--out", out, "--no-recording", "--quiet"]).code(0);
    assert!(said(&harness(&["analyze", out]).code(2)).contains("recording.json.gz"));
    assert!(Path::new(out).join("result.json").metadata().unwrap().len() > 0, "it is kept");
    run(&path, &["--no-recording"]).code(2);
}

#[test]
fn programs_can_have_the_result_on_standard_output() {
    let (_directory, path) = scenario(|text| text);
    let assert = run(&path, &["--format", "json"]).code(0);
    let result: serde_json::Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
    assert_eq!(result["verdict"], "pass");
    let text = said(&run(&path, &["--format", "json", "--quiet"]).code(0));
    assert!(text.starts_with("VERDICT"), "{text}");
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

/// A directory of scenarios: one that passes, and these controls.
fn suite(controls: &[(&str, &str)]) -> TempDir {
    let (directory, path) = scenario(|text| text);
    let small = fs::read_to_string(path).unwrap();
    fs::create_dir(directory.path().join("controls")).unwrap();
    for (name, expect) in controls {
        let broken = name.starts_with("broken");
        let upgrades = if broken { "[upgrades]\nevery = \"200ms\"\n" } else { "" };
        let rate = if broken { "rate = 2000" } else { "rate = 200" };
        let text = small.replace("rate = 200", rate).replace("500ms", "1500ms");
        let text = format!("{text}{upgrades}{expect}");
        fs::write(directory.path().join(format!("controls/{name}.toml")), text).unwrap();
    }
    directory
}

const CONVICTED: &str = "[expect]\nverdict = \"fail\"\nharm = [\"refused\", \"reset_queue\"]\n";
const INNOCENT: &str = "[expect]\nverdict = \"pass\"\nonly = true\n";

fn last_line(assert: &Assert) -> String {
    let text = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    text.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn a_suite_proves_its_scenarios_and_its_judge() {
    let directory = suite(&[("broken", CONVICTED), ("sound", INNOCENT)]);
    let (dir, junit) = (directory.path(), directory.path().join("junit.xml"));
    let out = dir.join("out");
    let assert = harness(&[
        "suite",
        dir.to_str().unwrap(),
        "--junit",
        junit.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
    ])
    .code(0);
    assert_eq!(last_line(&assert), "3 passed, 0 failed");
    let text = said(&assert);
    assert!(text.contains("controls/broken.toml (exit 1,"), "{text}");
    assert!(text.contains("harmed per upgrade x "), "{text}");
    let xml = fs::read_to_string(junit).unwrap();
    assert!(xml.contains("tests=\"3\"") && xml.contains("failures=\"0\""), "{xml}");
    assert_eq!(fs::read_dir(&out).unwrap().count(), 6, "a directory and a log each");
    let assert = harness(&["control", "--dir", dir.to_str().unwrap(), "sound", "--quiet"]).code(0);
    assert_eq!(said(&assert), "1 passed, 0 failed\n");
    let text = said(&harness(&["control", "--dir", dir.to_str().unwrap(), "sond"]).code(2));
    assert!(text.contains("`sond`") && text.contains("broken, sound"), "{text}");
}

#[test]
fn a_control_that_is_not_convicted_makes_the_suite_inconclusive() {
    let directory = suite(&[("sound", CONVICTED), ("unsaid", "")]);
    let dir = directory.path().to_str().unwrap();
    let assert = harness(&["suite", dir]).code(3);
    assert_eq!(last_line(&assert), "1 passed, 2 failed");
    let text = said(&assert);
    assert!(text.contains("blind to refused or reset_queue"), "{text}");
    assert!(text.contains("[expect]"), "{text}");
    let kept = text.lines().find_map(|line| line.strip_prefix("the reports are in ")).unwrap();
    fs::remove_dir_all(kept).unwrap();
    // A server that is really broken is convicted all the same.
    let broken = fs::read_to_string(directory.path().join("controls/sound.toml")).unwrap();
    let broken = broken.replace(CONVICTED, "[upgrades]\nevery = \"200ms\"\n");
    let broken = broken.replace("rate = 200", "rate = 2000");
    fs::write(directory.path().join("broken.toml"), broken).unwrap();
    let out = directory.path().join("out");
    let out = out.to_str().unwrap();
    let assert = harness(&["suite", dir, "--format", "json", "--out", out]).code(1);
    let json: serde_json::Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
    assert_eq!((&json["exit_code"], &json["failed"]), (&1.into(), &3.into()));
}

#[test]
fn a_suite_without_controls_or_scenarios_proves_nothing() {
    let directory = suite(&[]);
    let assert = harness(&["suite", directory.path().to_str().unwrap()]).code(3);
    assert_eq!(last_line(&assert), "1 passed, 1 failed");
    assert!(said(&assert).contains("no control"), "{}", said(&assert));
    let empty = TempDir::new().unwrap();
    harness(&["suite", empty.path().to_str().unwrap()]).code(2);
    harness(&["control", "--dir", empty.path().to_str().unwrap()]).code(2);
    harness(&["suite", "/nonexistent"]).code(2);
}

#[test]
fn several_runs_have_a_verdict_each_and_the_gravest_exit_code() {
    let (directory, path) = scenario(|text| text);
    let weak = directory.path().join("weak.toml");
    fs::write(&weak, fs::read_to_string(&path).unwrap().replace("rate = 200", "rate = 4")).unwrap();
    let (path, weak) = (path.to_str().unwrap(), weak.to_str().unwrap());
    let assert = harness(&["run", path, weak, "-q"]).code(3);
    assert_eq!(last_line(&assert), "1 passed, 1 failed");
    assert_eq!(said(&assert).matches("VERDICT").count(), 2);
    let assert = harness(&["run", path, "--repeat", "2", "-q"]).code(0);
    assert_eq!(last_line(&assert), "2 passed, 0 failed");
    let assert = harness(&["run", weak, path, "--until-fail", "-q"]).code(3);
    assert_eq!(last_line(&assert), "0 passed, 1 failed");
    harness(&["run", path, "--repeat", "0"]).code(2);
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
    let text = said(&harness(&["explain", "reset_queu"]).code(2));
    assert!(text.contains("`reset_queue`"), "{text}");
    assert!(said(&harness(&["explain", "law.L4"]).code(0)).contains("accept queue"));
    assert!(said(&harness(&["list", "faults"]).code(0)).contains("kill-before-ready"));
    let scenarios = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios");
    let text = said(&harness(&["list", "controls", "--dir", scenarios]).code(0));
    assert!(text.contains("fail: refused or reset_queue"), "{text}");
}

#[test]
fn shares_of_a_run_have_one_verdict() {
    let (directory, path) = scenario(|text| text);
    let dir = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    for (shard, seed, out) in [("1/2", "0x7", "a"), ("2/2", "0x7", "b"), ("2/2", "0x8", "c")] {
        let arguments = ["--shard", shard, "--seed", seed, "--out", &dir(out), "-q"];
        run(&path, &arguments).code(0);
    }
    let (a, b, c, out) = (dir("a"), dir("b"), dir("c"), dir("all"));
    let assert = harness(&["merge", &b, &a, "--out", &out]).code(0);
    let result = |dir: &str| -> serde_json::Value {
        serde_json::from_slice(&fs::read(Path::new(dir).join("result.json")).unwrap()).unwrap()
    };
    let dispatched = |dir: &str| result(dir)["ledger"]["dispatched"].as_u64().unwrap();
    assert_eq!(dispatched(&out), dispatched(&a) + dispatched(&b));
    assert!((35..70).contains(&dispatched(&a)), "half of 100: {}", dispatched(&a));
    judged_again(Path::new(&out), 0, &assert.get_output().stdout);
    // What is not there has proved nothing.
    let text = said(&harness(&["merge", &a]).code(3));
    assert!(text.contains("only share 1/2"), "{text}");
    let text = said(&harness(&["merge", &a, &c]).code(2));
    assert!(text.contains("the same --seed"), "{text}");
    harness(&["merge", &a, &a]).code(2);
    run(&path, &["--shard", "3/2"]).code(2);
}

#[test]
fn a_result_can_be_read_in_other_words() {
    let (directory, path) = scenario(|text| text);
    let (out, summary) = (directory.path().join("out"), directory.path().join("summary.md"));
    let arguments =
        ["run", path.to_str().unwrap(), "--out", out.to_str().unwrap(), "--github", "-q"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
    let assert = command.args(arguments).env("GITHUB_STEP_SUMMARY", &summary).assert().code(0);
    assert_eq!(last_line(&assert).split(',').nth(1), Some(" 0 failed"));
    let file = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    assert_eq!(fs::read_to_string(summary).unwrap(), file("summary.md"));
    let printed = |arguments: &[&str]| {
        let assert = harness(&[&["report", out.to_str().unwrap()], arguments].concat()).code(0);
        String::from_utf8(assert.get_output().stdout.clone()).unwrap()
    };
    for (arguments, name) in [
        (&["--html"][..], "report.html"),
        (&["--json"], "result.json"),
        (&["--junit"], "junit.xml"),
        (&["--markdown"], "summary.md"),
        (&["--prometheus"], "metrics.prom"),
        (&["--hgrm", "churn"], "churn.hgrm"),
        (&[], "report.txt"),
    ] {
        assert_eq!(printed(arguments), file(name), "{name}");
    }
    let out = out.to_str().unwrap();
    assert!(said(&harness(&["report", out, "--hgrm", "chrun"]).code(2)).contains("churn"));
    harness(&["report", out, "--html", "--json"]).code(2);
    assert!(said(&harness(&["report", "/nonexistent"]).code(2)).contains("/nonexistent"));
    let schema = said(&harness(&["schema"]).code(0));
    assert_eq!(schema, include_str!("../schema/result-1.json"));
}

#[test]
fn two_runs_can_be_compared() {
    let (directory, path) = scenario(|text| text);
    let out = directory.path().join("out");
    let out = out.to_str().unwrap();
    run(&path, &["--out", out, "-q"]).code(0);
    let text = said(&harness(&["compare", out, out, "--max-regress", "churn.p99=+0%+0s"]).code(0));
    assert!(text.contains("churn") && text.contains("+0.000ms"), "{text}");
    let slower = directory.path().join("slower.json");
    let mut result: serde_json::Value =
        serde_json::from_slice(&fs::read(Path::new(out).join("result.json")).unwrap()).unwrap();
    result["populations"][0]["latency"]["p99"] = 5_000_000_000_u64.into();
    fs::write(&slower, result.to_string()).unwrap();
    let slower = slower.to_str().unwrap();
    let limit = ["--max-regress", "churn.p99=+20%+1ms"];
    let text = said(&harness(&[&["compare", out, slower], &limit[..]].concat()).code(1));
    assert!(text.contains("FAIL"), "{text}");
    harness(&[&["compare", slower, out], &limit[..]].concat()).code(0);
    let limit = ["--max-regress", "churn.during.p99=+20%+1ms"];
    harness(&[&["compare", out, out], &limit[..]].concat()).code(3);
    let text = said(&harness(&["compare", out, out, "--max-regress", "churn.p99=+20%"]).code(2));
    assert!(text.contains("+20%+1ms"), "{text}");
    let text = said(&harness(&["compare", out, path.to_str().unwrap()]).code(2));
    assert!(text.contains("small.toml"), "{text}");
}

#[test]
fn a_plan_can_be_expanded_and_the_seed_decides_it() {
    let (_directory, path) = scenario(|text| text.replace("500ms", "2s"));
    let path = path.to_str().unwrap();
    let lines = |seed: &str| {
        let assert = harness(&["plan", path, "--seed", seed]).code(0);
        String::from_utf8_lossy(&assert.get_output().stdout).into_owned()
    };
    let text = lines("0x5eed");
    assert_eq!(text, lines("0x5eed"));
    assert_ne!(text, lines("0x5eee"));
    let all: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!((300..500).contains(&all.len()), "{} of 400 in two seconds", all.len());
    let offset = |line: &serde_json::Value| line["offset_ns"].as_u64().unwrap();
    assert!(all.is_sorted_by_key(offset) && offset(all.last().unwrap()) <= 2_000_000_000);
    assert_eq!(all[0]["population"], "churn");
    assert!((64..=1024).contains(&all[0]["payload_bytes"].as_u64().unwrap()));
}

#[test]
fn values_can_be_changed_without_the_file_and_mistakes_name_the_flag() {
    let (_directory, path) = scenario(|text| text);
    let path = path.to_str().unwrap();
    let checked = |arguments: &[&str]| harness(&[&["check", path], arguments].concat());
    let assert = checked(&["--set", "load.churn.rate=7", "--scale", "2", "--duration", "3s"]);
    let plan: serde_json::Value =
        serde_json::from_slice(&assert.code(0).get_output().stdout).unwrap();
    assert_eq!(plan["loads"][0]["rate"], 14.0);
    assert_eq!(plan["phases"]["storm"]["secs"], 3);
    for (arguments, parts) in [
        (&["--set", "load.churn.rate=0"][..], &["--set load.churn.rate=0", "6k/s"][..]),
        (&["--set", "load.churn.rat=5"], &["--set load.churn.rat=5", "`rate`"]),
        (&["--set", "load.chur.rate=5"], &["--set load.chur.rate=5", "churn"]),
        (&["--set", "phases"], &["`phases` has no `=`"]),
        (&["--duration", "3"], &["--duration 3", "250ms"]),
        (&["--scale", "0"], &["0.1 to 10"]),
    ] {
        let text = said(&checked(arguments).code(2));
        assert!(parts.iter().all(|part| text.contains(part)), "{arguments:?}: {text}");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
    let assert = command.args(["check", path]).env("HARNESS_SEED", "0x7").assert().code(0);
    assert!(said(&assert).contains("\"seed\": \"0x7\""));
}

#[test]
fn a_machine_is_asked_what_it_can_prove() {
    let text = said(&harness(&["doctor"]).code(0));
    for capability in ["netns", "userns", "tracefs", "reset-reasons", "hiccup", "syn-retries"] {
        assert!(text.lines().any(|line| line.contains(capability)), "{capability}: {text}");
    }
    assert!(said(&harness(&["doctor", "--require", "luck"]).code(2)).contains("netns"));
    let lacking = text.lines().find(|line| !line.starts_with("ok"));
    if let Some(name) = lacking.and_then(|line| line.split_whitespace().nth(1)) {
        assert!(said(&harness(&["doctor", "--require", name]).code(4)).contains(name));
    }
}

#[test]
fn the_command_line_describes_itself() {
    let bash = said(&harness(&["completions", "bash"]).code(0));
    assert!(bash.contains("complete ") && bash.contains("analyze"), "{bash}");
    let man = said(&harness(&["man"]).code(0));
    assert!(man.contains(".TH harness 1") && man.contains("SH HARNESS ANALYZE"), "{man}");
}

#[test]
fn a_limit_that_is_too_low_for_the_plan_is_named_before_the_start() {
    let scenario = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/ten-thousand-idle.toml");
    let script = "ulimit -n 5000; exec \"$0\" run \"$1\"";
    let harness = env!("CARGO_BIN_EXE_harness");
    let assert = Command::new("/bin/sh").args(["-c", script, harness, scenario]).assert().code(4);
    let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(said.contains("open files at once, and this process may have 5000"), "{said}");
    assert!(said.contains("ulimit -n 1"), "{said}");
}
