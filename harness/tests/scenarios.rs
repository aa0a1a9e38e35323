//! Every scenario of the repository can be run, and what cannot be meant is
//! refused in words that help.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::event::{Expected, Spared, Upshot};
use harness::scenario::expect::{Ending, Expect};
use harness::scenario::plan::{
    Addressee, Attach, By, FaultKind, Http, LoadKind, Namespace, Signal, Speak, Trigger, When,
};
use harness::scenario::{Lint, Plan};
use harness::units::SeedChoice;

const SOUND: &str = r#"schema = "harness/scenario/1"
name = "sound"
seed = "0x5eed"
[target]
command = ["{bin:echo-server}", "--listen", "{addr}"]
greeting = "generation {generation} pid {pid}"
[phases]
storm = "3s"
[[load]]
name = "churn"
kind = "churn"
rate = 100
[upgrades]
every = "1s"
[[fault]]
kind = "kill-before-ready"
"#;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios")
}

fn load(source: &str) -> Result<(Plan, Vec<Lint>), String> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("s.toml");
    fs::write(&path, source).expect("a writable directory");
    Plan::load(&path, None)
        .map_err(|error| error.to_string().replace(&path.display().to_string(), "s.toml"))
}

fn scenario(name: &str) -> Plan {
    Plan::load(&repository().join(name), None).expect(name).0
}

/// The sound scenario with one place changed is refused, and the message has all of `parts`.
#[track_caller]
fn refused(old: &str, new: &str, parts: &[&str]) {
    assert!(SOUND.contains(old), "{old}");
    let message = load(&SOUND.replacen(old, new, 1)).expect_err(new);
    for part in parts {
        assert!(message.contains(part), "`{part}` is missing in:\n{message}");
    }
}

#[test]
fn every_scenario_is_the_same_when_it_is_written_by_the_harness() {
    let mut seen = 0;
    for dir in ["", "controls", "nginx", "wire", "regressions", "faults"] {
        let Ok(entries) = fs::read_dir(repository().join(dir)) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                let (plan, _) = Plan::load(&path, None).unwrap_or_else(|e| panic!("{e}"));
                let written = plan.to_toml();
                let mut read = Plan::parse(&written, &path).unwrap_or_else(|e| panic!("{e}"));
                for (gate, first) in read.gates.iter_mut().zip(&plan.gates) {
                    gate.line = first.line;
                }
                assert_eq!(read, plan, "{}\n{written}", path.display());
                assert_eq!(read.to_toml(), written);
                seen += 1;
            }
        }
    }
    assert!(seen >= 8, "{seen} scenarios");
}

#[test]
fn every_scenario_loads_without_a_warning() {
    let mut seen = 0;
    for dir in ["", "controls", "faults", "faults/controls", "nginx", "sweep", "wire"]
        .map(|dir| repository().join(dir))
    {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                let (plan, lints) = Plan::load(&path, None).unwrap_or_else(|e| panic!("{e}"));
                let stem = path.file_stem().unwrap().to_str().unwrap();
                let weak = |lint: &&Lint| matches!(lint, Lint::TooWeak { .. });
                let (weak, others): (Vec<_>, Vec<_>) = lints.iter().partition(weak);
                assert!(others.is_empty(), "{}: {others:?}", path.display());
                // A control may be about something else than a lost queue.
                let control = path.parent().unwrap().ends_with("controls");
                assert!(weak.is_empty() || control, "{}: {weak:?}", path.display());
                assert!(!weak.is_empty() || stem != "too-weak", "it is what the warning is about");
                assert!(plan.name.ends_with(stem), "{}", path.display());
                seen += 1;
            }
        }
    }
    assert!(seen >= 8, "{seen} scenarios");
}

#[test]
fn every_control_says_what_it_must_end_as() {
    let expected = |name: &str| {
        Expect::load(&repository().join(format!("controls/{name}.toml"))).unwrap().expect(name)
    };
    // A control that is gone is a harness that nobody has tested.
    for (name, verdict) in [
        ("null", Ending::Pass),
        ("stop-start", Ending::Fail),
        ("reuseport", Ending::Fail),
        ("too-weak", Ending::Inconclusive),
    ] {
        assert_eq!(expected(name).verdict, verdict, "{name}");
    }
    assert!(expected("null").only && expected("null").harm.is_empty());
    for entry in fs::read_dir(repository().join("controls")).unwrap() {
        let path = entry.unwrap().path();
        let expect = Expect::load(&path).unwrap().expect("an [expect] section");
        let named = !expect.harm.is_empty() || !expect.checks.is_empty();
        assert!(named || expect.verdict != Ending::Fail, "{}", path.display());
    }
    assert_eq!(Expect::load(&repository().join("smoke.toml")).unwrap(), None);
}

#[test]
fn expectations_that_cannot_be_met_are_refused() {
    let with = |text: &str| format!("[expect]\n{text}\n[phases]");
    refused("[phases]", &with("verdict = \"failed\""), &["s.toml:8:", "`failed`", "`fail`"]);
    refused("[phases]", &with("harm = []"), &["`verdict`"]);
    let typo = with("verdict = \"fail\"\nharm = [\"refusd\"]");
    refused("[phases]", &typo, &["s.toml:9:", "`refusd`", "`refused`"]);
}

#[test]
fn the_storm_says_what_it_proves() {
    let plan = scenario("upgrade-storm.toml");
    assert_eq!((plan.coverage.upgrades, plan.coverage.connections), (100, 100_000));
    assert_eq!(plan.upgrades.unwrap().every, Duration::ZERO);
    let lifetime = Duration::from_secs(2);
    assert_eq!(plan.loads[1].kind, LoadKind::KeepAlive { connections: 32, lifetime });
    assert_eq!(plan.network.sysctl.len(), 2);
    let control = scenario("controls/stop-start.toml");
    assert_eq!(control.target.trigger.to, Addressee::Main);
    assert_eq!(control.target.ledger, None);
}

#[test]
fn what_is_left_out_is_as_documented() {
    let (plan, lints) = load(SOUND).unwrap();
    assert!(matches!(lints[..], [Lint::TooWeak { upgrades: 1, .. }]), "{lints:?}");
    assert_eq!(plan.seed, 0x5eed);
    assert_eq!(plan.target.ready_timeout, Duration::from_secs(10));
    assert_eq!(plan.target.drain_timeout, Duration::from_secs(15));
    assert_eq!(plan.loads[0].payload, (64, 1024));
    assert_eq!(plan.loads[0].timeout, Duration::from_secs(10));
    assert_eq!(plan.upgrades.unwrap().max_alive, 24);
    let usual = Expected { upgrade: Upshot::Fails, clients: Spared::All, told: None };
    assert_eq!((&plan.faults[0].when, &plan.faults[0].expect), (&When::Every(1), &usual));
    assert_eq!((plan.coverage.upgrades, plan.coverage.faults), (1, 1));
    assert_eq!(plan.coverage.connections_per_upgrade.to_bits(), 20.0_f64.to_bits());
    assert_eq!(plan.limits.lateness_p99, Duration::from_millis(50));
    // Without upgrades nothing is asked of them.
    let plan = scenario("controls/null.toml");
    assert_eq!((plan.coverage.upgrades, plan.coverage.faults), (0, 0));
    assert!(plan.coverage.connections_per_upgrade.abs() < f64::EPSILON);
}

#[test]
fn an_upgrade_can_be_asked_for_in_three_ways() {
    let trigger = |text: &str| {
        let line = format!("[target]\ntrigger = {{ {text} }}");
        load(&SOUND.replacen("[target]", &line, 1)).unwrap().0.target.trigger
    };
    let command = vec!["kill".to_owned(), "-HUP".to_owned(), "{pid}".to_owned()];
    assert_eq!(
        trigger("command = [\"kill\", \"-HUP\", \"{pid}\"]"),
        Trigger { by: By::Command(command), to: Addressee::Main }
    );
    let (path, send) = ("{dir}/ctl".to_owned(), r#"{"command":"upgrade"}"#.to_owned());
    assert_eq!(
        trigger("socket = \"{dir}/ctl\""),
        Trigger { by: By::Socket { path, send }, to: Addressee::Serving }
    );
    assert_eq!(
        trigger("to = \"main\""),
        Trigger { by: By::Signal(Signal::SigHup), to: Addressee::Main }
    );
}

#[test]
fn a_fault_says_which_upgrades_it_hits_and_what_is_expected() {
    let fault = |lines: &str| {
        let source = SOUND.replace("kind = \"kill-before-ready\"", lines);
        load(&source).map(|(plan, _)| plan.faults[0].clone())
    };
    let by_id = fault("id = \"C04\"\nupgrades = [5, 2]").unwrap();
    assert_eq!((by_id.kind, by_id.when), (FaultKind::KillBeforeReady, When::Upgrades(vec![2, 5])));
    let lines = "id = \"C04\"\nchance = 0.25\nexpect = { upgrade = \"completes\", \
                 clients = \"owned\", told = \"signal 9\" }";
    let expected = fault(lines).unwrap();
    assert_eq!(expected.when, When::Chance(0.25));
    let (upgrade, clients) = (Upshot::Completes, Spared::ButItsOwn);
    let told = Some("signal 9".to_owned());
    assert_eq!(expected.expect, Expected { upgrade, clients, told });
    for (lines, parts) in [
        ("id = \"C99\"", ["s.toml:16:6:", "accepted: `C01`, `C02`"]),
        ("every = 1", ["s.toml:15:1:", "id = \"C04\""]),
        ("id = \"C04\"\nkind = \"kill-before-ready\"", ["s.toml:16:6:", "one of them"]),
        ("id = \"C04\"\nevery = 0", ["s.toml:17:9:", "every third"]),
        ("id = \"C04\"\nevery = 1\nchance = 0.5", ["s.toml:17:9:", "one of them"]),
        ("id = \"C04\"\nevery = 1\nupgrades = [1]", ["s.toml:18:12:", "the others"]),
        ("id = \"C04\"\nupgrades = []", ["s.toml:17:12:", "[2, 5]"]),
        ("id = \"C04\"\nupgrades = [1, 1]", ["s.toml:17:12:", "each once"]),
        ("id = \"C04\"\nupgrades = [0]", ["s.toml:17:12:", "from 1"]),
        ("id = \"C04\"\nchance = 1.5", ["s.toml:17:10:", "probability"]),
        ("id = \"C04\"\nexpect = { upgrade = \"dies\" }", ["`dies`", "`completes`"]),
        ("id = \"C04\"\nexpect.clients = \"some\"", ["`some`", "`owned`"]),
    ] {
        let message = fault(lines).unwrap_err();
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
}

#[test]
fn the_plan_prints_a_seed_that_can_be_given_back() {
    let path = repository().join("smoke.toml");
    let seed = |choice| Plan::load(&path, choice).unwrap().0;
    let fixed = seed(Some(SeedChoice::Fixed(u64::MAX)));
    assert_eq!(serde_json::to_value(&fixed).unwrap()["seed"], "0xffffffffffffffff");
    assert_ne!(seed(None).seed, seed(Some(SeedChoice::Random)).seed);
}

#[test]
fn a_message_names_the_file_the_line_and_the_form() {
    let message = load(&SOUND.replacen("rate = 100", "rate = 0", 1)).unwrap_err();
    assert_eq!(
        message,
        "s.toml:12:8: `0` is a rate that no load can have; write a rate above zero, at most \
         10M/s: operations per second, like 6000, \"6000/s\" or \"6k/s\"\n  | rate = 0"
    );
}

#[test]
fn unknown_keys_and_words_are_answered_with_the_known() {
    refused("rate = 100", "raet = 100", &["s.toml:12:1:", "`raet`", "did you mean `rate`?"]);
    refused("[upgrades]", "[upgrade]", &["s.toml:13:2:", "`upgrade`", "mean `upgrades`?"]);
    refused("every = \"1s\"", "ever = \"1s\"", &["mean `every`?", "`max_alive`", "`most`"]);
    refused("\"churn\"\nrate", "\"chrun\"\nrate", &["`chrun`", "mean `churn`?", "`keep-alive`"]);
    refused("kill-before-ready", "kill", &["`kill`", "`kill-before-ready`"]);
    refused("rate = 100\n", "", &["s.toml:9:", "`rate` is missing"]);
    refused("every = \"1s\"", "max_alive = -2", &["s.toml:14:13:", "`-2`", "a whole number"]);
    refused("storm = \"3s\"", "storm = 3", &["s.toml:8:9:", "`3`", "\"250ms\""]);
    refused("storm = \"3s\"", "storm = true", &["s.toml:8:9:", "true", "\"250ms\""]);
    refused("storm = \"3s\"", "storm = ", &["s.toml:8:"]);
    refused("0x5eed", "5eed", &["s.toml:3:8:", "`5eed`", "\"0x5eed\""]);
    refused("scenario/1", "scenario/2", &["s.toml:1:10:", "harness/scenario/1"]);
    refused("\"sound\"", "\"a/b\"", &["s.toml:2:8:", "`a/b`"]);
}

#[test]
fn targets_that_cannot_be_started_or_read_are_refused() {
    refused("{addr}", "{address}", &["s.toml:5:", "`{address}`", "{addr}"]);
    refused("{addr}", "127.0.0.1:80", &["s.toml:5:11:", "{addr}"]);
    refused("[\"{bin:echo-server}\", \"--listen\", \"{addr}\"]", "[]", &["{bin:echo-server}"]);
    refused("pid {pid}", "", &["s.toml:6:12:", "{pid} once"]);
    refused("{generation} pid {pid}", "{generation}{pid}", &["text between"]);
    let behind = "greeting = \"generation {generation} pid {pid}\"\n";
    let with = |line: &str| format!("{behind}{line}\n");
    refused(behind, &with("ledger = \"/tmp/l\""), &["s.toml:7:10:", "`/tmp/l`", "{dir}/ledger"]);
    refused(behind, &with("ready_timeout = \"0s\""), &["s.toml:7:17:", "ready_timeout"]);
    refused(behind, &with("stop = \"TERM\""), &["s.toml:7:8:", "`TERM`", "`SIGTERM`"]);
    refused(behind, &with("trigger = { to = \"all\" }"), &["`all`", "`serving`", "`main`"]);
    refused(behind, "", &["s.toml:12:1:", "target.greeting"]);
    let trigger = |text: &str, parts: &[&str]| {
        refused(behind, &with(&format!("trigger = {{ {text} }}")), parts);
    };
    trigger("command = []", &["s.toml:7:23:", "names no program"]);
    trigger("command = [\"a\", \"{pod}\"]", &["s.toml:7:29:", "`{pod}`", "{pid}"]);
    trigger("command = [\"a\"], signal = \"SIGHUP\"", &["s.toml:7:11:", "one of"]);
    trigger("socket = \"ctl\"", &["s.toml:7:22:", "absolute"]);
    trigger("send = \"x\"", &["s.toml:7:20:", "socket = "]);
}

#[test]
fn a_server_that_runs_already_is_not_started_stopped_or_harmed() {
    const COMMAND: &str = "command = [\"{bin:echo-server}\", \"--listen\", \"{addr}\"]";
    const ATTACH: &str = "attach = { connect = \"127.0.0.1:80\" }\npid_file = \"/run/x.pid\"";
    let quiet = SOUND.replace("[[fault]]\nkind = \"kill-before-ready\"\n", "");
    let attached = |attach: &str, more: &str| {
        load(&quiet.replace(COMMAND, attach).replace("[phases]", &format!("{more}\n[phases]")))
    };
    let (plan, lints) = attached(ATTACH, "").unwrap();
    assert!(!lints.contains(&Lint::HostNetwork), "{lints:?}");
    assert_eq!(plan.network.namespace, Namespace::Host);
    let connect = "127.0.0.1:80".parse().unwrap();
    assert_eq!(plan.target.attach, Some(Attach { connect, pid: None }));
    assert!(plan.target.command.is_empty());
    for (attach, more, part) in [
        ("", "", "attach = { connect"),
        (&*format!("{COMMAND}\n{ATTACH}"), "", "either"),
        ("attach = { connect = \"here\" }", "", "`here` is not an address"),
        ("attach = { connect = \"127.0.0.1:80\" }", "", "pid_file"),
        (&*ATTACH.replace("/run", "{dir}"), "", "absolute path"),
        (ATTACH, "ledger = \"{dir}/l\"", "ledger"),
        (ATTACH, "[network]\nnamespace = \"private\"", "\"host\""),
        (ATTACH, "[network]\nsysctl = { \"net.core.somaxconn\" = \"1\" }", "private"),
        (ATTACH, "[[fault]]\nkind = \"kill-before-ready\"", "never harmed"),
    ] {
        let message = attached(attach, more).unwrap_err();
        assert!(message.contains(part), "{message}");
    }
    // Nobody has to be known where nobody has to be named.
    let command = "attach = { connect = \"127.0.0.1:80\" }\ntrigger = { command = [\"x\"] }";
    attached(command, "").unwrap();
}

#[test]
fn networks_that_would_reach_the_machine_are_refused() {
    let with = |text: &str| format!("[network]\n{text}\n[phases]");
    let host = with("namespace = \"host\"\nsysctl = { \"net.core.somaxconn\" = \"1\" }");
    refused("[phases]", &host, &["s.toml:9:12:", "private"]);
    let outside = with("sysctl = { \"kernel.panic\" = \"1\" }");
    refused("[phases]", &outside, &["s.toml:8:12:", "`kernel.panic`", "net.ipv4"]);
    let lossy = with("namespace = \"host\"\nloss = 0.02");
    refused("[phases]", &lossy, &["s.toml:9:8:", "private"]);
    for share in ["0.0", "0.6", "-0.1", "nan"] {
        refused("[phases]", &with(&format!("loss = {share}")), &["s.toml:8:8:", "0.02"]);
    }
}

#[test]
fn loads_that_are_none_are_refused() {
    let with = |line: &str| format!("rate = 100\n{line}");
    refused("rate = 100", &with("payload = \"9..8\""), &["s.toml:13:11:", "`9..8`", "64..1024"]);
    refused("rate = 100", &with("payload = \"17MiB\""), &["`17MiB`", "16MiB"]);
    refused("rate = 100", &with("timeout = \"1ms\""), &["s.toml:13:11:", "1ms", "stall"]);
    refused("rate = 100", &with("connections = 1"), &["s.toml:13:15:", "keep-alive"]);
    refused("rate = 100", &with("lifetime = \"1s\""), &["s.toml:13:12:", "keep-alive"]);
    refused("rate = 100", &with("send = \"1KiB/s\""), &["s.toml:13:8:", "\"stream\""]);
    refused("rate = 100", &with("half_close = 0.5"), &["s.toml:13:14:", "\"stream\""]);
    refused("rate = 100", &with("to = \"unx:/a\""), &["s.toml:13:6:", "`unx:/a`", "unix:{dir}/"]);
    refused("rate = 100", &with("to = \"unix:a\""), &["s.toml:13:6:", "`a`", "absolute"]);
    let records = with("to = \"seqpacket:{dir}/s\"\npayload = \"1MiB\"");
    refused("rate = 100", &records, &["s.toml:14:11:", "1048576", "1 to 212960"]);
    let udp = |line: &str, parts: &[&str]| {
        refused("\"churn\"\nrate", &format!("\"udp\"\n{line}\nrate"), parts);
    };
    udp("to = \"tcp\"", &["s.toml:12:6:", "{addr}", "take the key out"]);
    udp("flows = 0", &["s.toml:12:9:", "flows = 0", "1 or more"]);
    udp("payload = \"1..64\"", &["s.toml:12:11:", "8 to 64995", "64..1024"]);
    udp("payload = \"65000\"", &["s.toml:12:11:", "65000", "8 to 64995"]);
    let ramp = with("ramp = { to = 0, over = \"1s\" }");
    refused("rate = 100", &ramp, &["s.toml:13:15:", "`0`", "6000"]);
    let step = with("ramp = { to = 9, over = \"0s\" }");
    refused("rate = 100", &step, &["s.toml:13:8:", "over = \"10s\""]);
    let burst = |text: &str| with(&format!("burst = [{{ {text} }}]"));
    for (text, parts) in [
        ("on = \"new.sen\", count = 9", ["`new.sen`", "mean `new.seen`?"]),
        ("on = \"trigger\", count = 0", ["count = 0", "1 to 4096"]),
        ("on = \"trigger\", count = 1, offset = \"-2s\"", ["`-2s`", "\"-1ms\""]),
        ("on = \"trigger\"", ["`count` is missing", "s.toml:13:"]),
    ] {
        refused("rate = 100", &burst(text), &parts);
    }
    let kept = burst("on = \"trigger\", count = 9").replace("rate = 100", "rate = 1");
    let kept = format!("\"keep-alive\"\n{kept}\n#");
    refused("\"churn\"\nrate", &kept, &["s.toml:13:10:", "\"churn\""]);
    refused("rate = 100", &with("flows = 1"), &["s.toml:13:9:", "\"udp\""]);
    let stream = |line: &str| format!("\"stream\"\n{line}\nrate");
    let refused_stream = |line: &str, parts: &[&str]| {
        refused("\"churn\"\nrate", &stream(line), parts);
    };
    refused_stream("half_close = 1.5", &["s.toml:12:14:", "0 to 1"]);
    refused_stream("to = \"seqpacket:{dir}/s\"", &["s.toml:12:6:", "no records", "\"churn\""]);
    refused_stream("send = \"1KiB\"", &["s.toml:12:8:", "`1KiB`", "\"64KiB/s\""]);
    refused_stream("payload = \"1MiB\"\nsend = \"64KiB/s\"", &["takes 16.0s", "faster pace"]);
    let again = with("[[load]]\nname = \"churn\"\nkind = \"churn\"\nrate = 1");
    refused("rate = 100", &again, &["s.toml:14:8:", "another name"]);
    let kept = "\"keep-alive\"\nconnections = 0\nrate";
    refused("\"churn\"\nrate", kept, &["s.toml:12:15:", "1 or more"]);
    let (head, _) = SOUND.split_once("[[load]]").unwrap();
    assert!(load(head).unwrap_err().contains("[[load]]"));
}

#[test]
fn loads_by_http_are_checked_like_any_other() {
    const HTTP: &str = "greeting = \"x-served-by: {pid}\"\ncloses_idle = true\n";
    let http = |kind: &str, lines: &str| {
        let source = SOUND
            .replace("greeting = \"generation {generation} pid {pid}\"\n", HTTP)
            .replace("kind = \"churn\"", &format!("kind = \"{kind}\"\nspeak = \"http\"\n{lines}"));
        load(&source)
    };
    let (plan, _) = http("keep-alive", "path = \"/a?b\"\nexpect = { status = 204 }").unwrap();
    assert!(plan.target.closes_idle);
    let Speak::Http(Http { path, host, status, body_bytes }) = &plan.loads[0].speak else {
        panic!("{:?}", plan.loads[0]);
    };
    assert_eq!((path.as_str(), host.as_str()), ("/a?b", "localhost"));
    assert_eq!((*status, *body_bytes), (Some(204), None));
    for (kind, lines, part) in [
        ("stream", "", "\"keep-alive\""),
        ("churn", "", "closes_idle"),
        ("keep-alive", "payload = \"1\"", "`payload`"),
        ("keep-alive", "path = \"a\"", "slash"),
        ("keep-alive", "path = \"/a b\"", "blanks"),
        ("keep-alive", "host = \"\"", "empty"),
        ("keep-alive", "expect = { status = 99 }", "200 to 599"),
        ("keep-alive", "expect = { stats = 200 }", "`status`"),
    ] {
        let message = http(kind, lines).unwrap_err();
        assert!(message.contains(part), "{message}");
    }
    refused("\"churn\"\nrate", "\"churn\"\nspeak = \"http\"\nrate", &["s.toml:6:12:", "header"]);
    refused("rate = 100", "path = \"/\"\nrate = 100", &["s.toml:12:8:", "speak = \"http\""]);
    refused("rate = 100", "speak = \"htp\"\nrate = 100", &["`htp`", "mean `http`?"]);
    refused("[phases]", "closes_idle = true\n[phases]", &["s.toml:7:15:", "keep-alive"]);
}

#[test]
fn demands_that_nothing_could_meet_are_refused() {
    refused("[upgrades]\nevery = \"1s\"\n", "", &["s.toml:13:1:", "[upgrades]"]);
    refused("every = \"1s\"", "max_alive = 1", &["s.toml:14:13:", "2 or more"]);
    refused("every = \"1s\"", "most = 0", &["s.toml:14:8:", "1 or more"]);
    refused("storm = \"3s\"", "storm = \"0s\"", &["[upgrades]", "phases.storm"]);
    let (quiet, _) = SOUND.split_once("[upgrades]").unwrap();
    for (line, part) in [
        ("upgrades = 1", "[upgrades]"),
        ("connections_per_upgrade = 0.5", "[upgrades]"),
        ("faults = 1", "[[fault]]"),
        ("tolerated = [\"refused\"]", "[[fault]]"),
        ("tolerated = [\"refusd\"]", "`refused`"),
    ] {
        let message = load(&format!("{quiet}[coverage]\n{line}\n")).unwrap_err();
        assert!(message.starts_with("s.toml:14:") && message.contains(part), "{message}");
    }
    load(&format!("{quiet}[coverage]\nupgrades = 0\nfaults = 0\n")).unwrap();
}

#[test]
fn what_is_doubtful_is_said() {
    let (quiet, _) = SOUND.split_once("[phases]").unwrap();
    let source = format!(
        "{quiet}[network]\nnamespace = \"host\"\n[[load]]\nname = \"kept\"\nkind = \"keep-alive\"\n\
         rate = \"1k/s\"\ntimeout = \"5s\"\n[[load]]\nname = \"held\"\nkind = \"idle\"\n\
         connections = 31\nrate = 10\n"
    );
    let gates = "[gates]\n\"kernel.unexplained\" = { is = \"== 0\" }\n\
                 \"latency.kept.baseline.p99\" = { is = \"< 1s\", min_samples = 2001 }\n\
                 \"latency.kept.after.p99\" = { is = \"< 1s\", min_samples = 2001 }\n";
    let (_, lints) = load(&format!("{source}{gates}")).unwrap();
    let timeout = Duration::from_secs(5);
    assert_eq!(
        lints,
        [
            Lint::TimeoutHidesSynRetries { load: "kept".to_owned(), timeout },
            Lint::HostNetwork,
            Lint::NoChurn,
            Lint::StillOpening { load: "held".to_owned() },
            Lint::GateWithoutSamples {
                gate: "latency.kept.baseline.p99".to_owned(),
                line: 21,
                wanted: 2001,
                most: 2000,
            },
            Lint::KernelGateOnHost { gate: "kernel.unexplained".to_owned(), line: 20 },
        ]
    );
    let (_, weak) = load(SOUND).unwrap();
    let lints = [lints, weak].concat();
    assert!(lints.iter().all(|lint| lint.to_string().contains("= \"")), "{lints:?}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Plan::load(Path::new("no/such.toml"), None).unwrap_err();
    assert!(error.to_string().starts_with("no/such.toml: "), "{error}");
}
