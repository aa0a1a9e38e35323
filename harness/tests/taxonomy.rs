//! Every harm that the harness knows is done for real by somebody, and seen.
//!
//! The table names, for each, the controls and the tests that do it: a control is a
//! server that is broken on purpose (`scenarios/controls`), and must be convicted of
//! it; a test sets the load on a server that does it. Neither is a recording that was
//! written by hand.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use harness::event::Harm;
use harness::scenario::Plan;
use harness::scenario::expect::{Ending, Expect};

/// What does a harm.
#[derive(Clone, Copy, Debug)]
enum Done {
    /// The scenario of this name in `scenarios/controls`, which expects this harm.
    By(&'static str),
    /// The test in this file below `harness/src/load`, of this name.
    In(&'static str, &'static str),
}

use Done::{By, In};

const TESTS: &str = "tests.rs";
const POPULATIONS: &str = "tests/populations.rs";
const DATAGRAMS: &str = "tests/datagrams.rs";
const WEB: &str = "tests/web.rs";
const RESETS: &str = "tests/resets.rs";
const EVERY_MANNER: Done = In(TESTS, "every_bad_manner_has_its_name");

const TABLE: &[(&str, &[Done])] = &[
    ("refused", &[By("stop-start"), In(TESTS, "nobody_listening_is_refused")]),
    (
        "reset_connect",
        &[
            By("reuseport"),
            In(RESETS, "a_reset_can_come_before_the_client_has_looked_whether_it_is_connected"),
        ],
    ),
    (
        "reset_queue",
        &[
            By("reuseport"),
            By("drained-queue"),
            In(RESETS, "a_connection_that_is_reset_unserved_was_lost_in_a_queue"),
        ],
    ),
    ("reset_request", &[EVERY_MANNER]),
    ("reset_reply", &[By("reset-quiet")]),
    ("reset_idle", &[By("reset-quiet")]),
    ("eof_greeting", &[EVERY_MANNER]),
    ("eof_early", &[By("kill-old"), EVERY_MANNER]),
    ("eof_idle", &[By("drop-quiet"), By("kill-old")]),
    ("epipe", &[By("drop-writers")]),
    ("stall_syn", &[By("short-backlog")]),
    ("stall_accept", &[By("late-accept"), In(TESTS, "a_late_first_byte_is_a_stall")]),
    ("never_served", &[By("forget-accept"), In(TESTS, "a_mute_server_has_never_served")]),
    ("timeout", &[In(TESTS, "requests_that_wait_for_a_deaf_server_time_out_with_it")]),
    ("lost_bytes", &[By("lose-bytes"), EVERY_MANNER]),
    ("dup_bytes", &[By("double-bytes"), EVERY_MANNER]),
    ("corrupt", &[By("corrupt"), EVERY_MANNER]),
    ("wrong_generation", &[By("early-accept"), By("serve-on")]),
    (
        "half_close",
        &[
            By("half-close"),
            In(POPULATIONS, "a_reply_that_is_dropped_because_the_client_has_finished_is_a_harm"),
        ],
    ),
    (
        "udp_lost",
        &[
            In(DATAGRAMS, "a_datagram_that_is_not_answered_is_lost"),
            In(DATAGRAMS, "datagrams_in_the_queue_of_a_socket_that_is_closed_are_lost"),
        ],
    ),
    (
        "udp_misrouted",
        &[In(DATAGRAMS, "a_flow_that_goes_back_to_an_older_generation_is_misrouted")],
    ),
    ("bad_status", &[In(WEB, "every_bad_manner_of_a_web_server_has_its_name")]),
    ("uds_enoent", &[By("unlink-late")]),
    ("uds_refused", &[By("stale-path")]),
    ("uds_eagain", &[By("short-backlog-unix")]),
    ("uds_queue_lost", &[By("lose-queue")]),
];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn control(name: &str) -> PathBuf {
    workspace().join("scenarios/controls").join(name).with_extension("toml")
}

fn controls() -> Vec<PathBuf> {
    let entries = fs::read_dir(workspace().join("scenarios/controls")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn expect(path: &Path) -> Expect {
    Expect::load(path).unwrap().expect("a control says how it must end")
}

/// Whether nothing but what is named is seen there.
fn exact(done: Done) -> bool {
    match done {
        By(name) => expect(&control(name)).only,
        In(..) => true,
    }
}

/// Why this does not show that `harm` is seen.
fn doubt(harm: Harm, done: Done) -> Option<String> {
    match done {
        By(name) => {
            let path = control(name);
            let expect = path.is_file().then(|| expect(&path));
            let convicted = expect.is_some_and(|expect| {
                expect.verdict == Ending::Fail && expect.harm.contains(&harm)
            });
            (!convicted).then(|| format!("no control {name} is convicted of it"))
        }
        In(file, test) => {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/load").join(file);
            let text = fs::read_to_string(path).unwrap_or_default();
            let there = text.contains(&format!("#[test]\nfn {test}() {{"));
            (!there).then(|| format!("there is no test {test} in {file}"))
        }
    }
}

#[test]
fn every_harm_is_done_for_real_and_seen() {
    let mut wrong = Vec::new();
    for harm in Harm::ALL {
        let done = TABLE.iter().find(|(id, _)| *id == harm.id()).map_or(&[][..], |(_, done)| done);
        if done.is_empty() {
            wrong.push(format!("{harm}: neither a control nor a test does it"));
            continue;
        }
        let doubts: Vec<String> = done.iter().filter_map(|done| doubt(harm, *done)).collect();
        if doubts.is_empty() && !done.iter().copied().any(exact) {
            wrong.push(format!("{harm}: where it is done, any other would do as well"));
        }
        wrong.extend(doubts.into_iter().map(|why| format!("{harm}: {why}")));
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    assert!(TABLE.iter().all(|(id, _)| Harm::from_id(id).is_some()), "a harm that is none");
}

#[test]
fn every_control_is_convicted_by_name_and_known_to_readers() {
    let readme = fs::read_to_string(workspace().join("scenarios/README.md")).unwrap();
    for path in controls() {
        let (expect, stem) = (expect(&path), path.file_stem().unwrap().to_str().unwrap());
        let convicted = expect.verdict == Ending::Fail;
        let charged = !expect.harm.is_empty() || !expect.checks.is_empty();
        assert_eq!(convicted, charged, "{stem} must be convicted of something by name");
        assert!(readme.contains(&format!("`{stem}`")), "scenarios/README.md does not name {stem}");
    }
}

#[test]
fn the_table_can_be_found_wrong() {
    assert!(doubt(Harm::Refused, By("no-such")).is_some());
    assert!(doubt(Harm::Refused, By("corrupt")).is_some());
    assert!(doubt(Harm::Refused, By("null")).is_some());
    assert!(doubt(Harm::Refused, In(TESTS, "no_such")).is_some());
}

/// The kinds of load there are, as the answer to a wrong one names them.
fn kinds() -> BTreeSet<String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("wrong.toml");
    let text = fs::read_to_string(control("null")).unwrap();
    fs::write(&path, text.replace("kind = \"churn\"", "kind = \"x\"")).unwrap();
    let message = Plan::load(&path, None).unwrap_err().to_string();
    let (_, accepted) = message.split_once("accepted: ").unwrap();
    accepted.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Kinds of load that the control server does not serve; the reference server does.
const NOT_SPOKEN: [&str; 1] = ["udp"];

fn has_loads(scenario: &Path, kinds: &[&String]) {
    let text = fs::read_to_string(scenario).unwrap();
    for kind in kinds {
        let written = text.contains(&format!("kind = \"{kind}\""));
        assert!(written, "{} has no {kind} load", scenario.display());
    }
}

#[test]
fn clients_of_every_kind_are_tried_at_a_server_that_harms_nobody() {
    let kinds = kinds();
    assert!(kinds.contains("churn") && kinds.contains("idle"), "{kinds:?}");
    for name in ["null-kinds", "sound"] {
        assert_eq!(expect(&control(name)), Expect { only: true, ..Expect::pass() });
        let spoken: Vec<_> =
            kinds.iter().filter(|kind| !NOT_SPOKEN.contains(&kind.as_str())).collect();
        has_loads(&control(name), &spoken);
    }
    let all = workspace().join("scenarios/every-population.toml");
    has_loads(&all, &kinds.iter().collect::<Vec<_>>());
}
