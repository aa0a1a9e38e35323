//! A point of a sweep, and whatever can be wrong with one.

use std::collections::BTreeSet;

use super::clean::recording;
use crate::clock::Stamp;
use crate::event::{Aim, Episode, Exit, Fate, Harm, Hit, Phase, Point, Sweep, Whom};
use crate::verdict::{Outcome, PointOutcome, PointVerdict, judge_sweep};

const MS: u64 = 1_000_000;

/// A process that no client was answered by.
const NEWCOMER: u32 = 900;

/// The first generation of the clean run is upgraded after 0.2 s, and again after 0.5 s.
fn point(number: u64, triggered: u64) -> Point {
    let hit = Hit {
        pid: NEWCOMER,
        number,
        call: "read",
        phase: Phase::Started,
        accepted: 0,
        clients: BTreeSet::new(),
        ended: Some(Exit::Signal(9)),
    };
    Point {
        aim: Aim::KillAt(number),
        old: 100,
        triggered: Stamp(triggered * MS),
        hit: Some(hit),
        answered: true,
        nobody: false,
        completed: false,
        told: None,
        next: Some(true),
        left: Vec::new(),
        until: Stamp((triggered + 200) * MS),
    }
}

fn sweep(whom: Whom) -> Sweep {
    let points = vec![point(1, 200), point(2, 500)];
    let episodes = vec![Episode { points, recording: recording() }];
    Sweep { whom, episodes, complete: true, trouble: None }
}

/// How the second point of a sweep comes out that `spoil` has changed, and the whole.
fn spoiled(whom: Whom, spoil: impl FnOnce(&mut Episode)) -> (PointVerdict, Outcome) {
    let mut sweep = sweep(whom);
    spoil(&mut sweep.episodes[0]);
    let verdict = judge_sweep(&sweep);
    assert_eq!(verdict.points[0].outcome, PointOutcome::Met, "it is not to be blamed");
    (verdict.points[1].clone(), verdict.outcome)
}

fn hit(episode: &mut Episode) -> &mut Hit {
    episode.points[1].hit.as_mut().unwrap()
}

/// Harms the operation that was made 0.6 s after the beginning.
fn harm(episode: &mut Episode) {
    episode.recording.operations[60].fate = Fate::Harmed(Harm::ResetQueue);
}

#[test]
fn a_sweep_without_harm_passes() {
    let verdict = judge_sweep(&sweep(Whom::Successor));
    assert_eq!((verdict.outcome, verdict.passed, verdict.failed), (Outcome::Pass, 2, 0));
    assert_eq!(verdict.operations, 400);
}

#[test]
fn whatever_is_wrong_is_named() {
    type Spoil = fn(&mut Episode);
    let wrongs: [(&str, Spoil); 7] = [
        ("1 reset_queue", harm),
        ("did not end it", |it| hit(it).ended = None),
        ("nobody was answered", |it| it.points[1].answered = false),
        ("nobody was left", |it| it.points[1].nobody = true),
        ("next upgrade", |it| it.points[1].next = Some(false)),
        ("left behind: a file", |it| it.points[1].left.push("a file".to_owned())),
        ("had to be killed", |it| it.recording.leaked.push(5)),
    ];
    for (expected, spoil) in wrongs {
        let (point, outcome) = spoiled(Whom::Successor, spoil);
        assert_eq!((point.outcome, outcome), (PointOutcome::Failed, Outcome::Fail), "{expected}");
        assert!(point.wrong.iter().any(|wrong| wrong.contains(expected)), "{:?}", point.wrong);
    }
}

/// The same, on a connection of the process that was hit.
fn harm_its_own(episode: &mut Episode, phase: Phase) {
    harm(episode);
    let connection = episode.recording.operations[60].connection;
    let connections = &mut episode.recording.connections;
    let harmed = connections.iter_mut().find(|one| one.id == connection).unwrap();
    let local = "127.0.0.1:5000".parse().unwrap();
    (harmed.served, harmed.local) = (None, Some(local));
    hit(episode).clients.insert(local);
    hit(episode).phase = phase;
}

/// A thread of its runtime comes to the call when the process serves.
#[test]
fn a_successor_that_crashes_of_a_failing_call_may_take_its_own_clients_with_it() {
    for (ended, expected) in
        [(Some(Exit::Signal(6)), PointOutcome::Met), (None, PointOutcome::Failed)]
    {
        let (point, _) = spoiled(Whom::Successor, |episode| {
            harm_its_own(episode, Phase::Started);
            hit(episode).ended = ended;
            let (call, errno) = ("mmap".to_owned(), "ENOMEM".to_owned());
            episode.points[1].aim = Aim::Fail { call, turn: 1, errno };
            episode.points[1].told = Some("panicked".to_owned());
        });
        assert_eq!(point.outcome, expected, "{:?}", point.wrong);
    }
}

#[test]
fn a_killed_process_may_take_its_own_clients_with_it_and_nobody_else() {
    for (whom, phase, expected) in [
        (Whom::Predecessor, Phase::Asked, PointOutcome::Met),
        (Whom::Successor, Phase::Ready, PointOutcome::Met),
        // Who is not ready was not to have any.
        (Whom::Successor, Phase::Passed, PointOutcome::Failed),
    ] {
        let (point, _) = spoiled(whom, |episode| harm_its_own(episode, phase));
        assert_eq!((point.outcome, point.owned, point.others), (expected, 1, 0), "{whom:?}");
    }
    let (point, _) = spoiled(Whom::Predecessor, harm);
    assert_eq!((point.outcome, point.owned, point.others), (PointOutcome::Failed, 0, 1));
}

#[test]
fn nobody_need_be_left_before_the_sockets_were_passed_on() {
    let alone = |phase| {
        move |episode: &mut Episode| {
            harm(episode);
            hit(episode).phase = phase;
            episode.points[1].nobody = true;
            episode.points[1].next = None;
        }
    };
    let (point, outcome) = spoiled(Whom::Predecessor, alone(Phase::Started));
    assert_eq!((point.outcome, outcome), (PointOutcome::Deserted, Outcome::Pass));
    assert_eq!(point.harm, [(Harm::ResetQueue, 1)].into());
    let (point, _) = spoiled(Whom::Predecessor, alone(Phase::Passed));
    assert_eq!(point.outcome, PointOutcome::Failed);
}

#[test]
fn an_upgrade_that_a_failing_call_has_ended_must_be_told_of() {
    let fails = |completed, told: Option<&str>| {
        let told = told.map(str::to_owned);
        move |episode: &mut Episode| {
            let [_, point] = &mut episode.points[..] else { return };
            let (call, errno) = ("pipe2".to_owned(), "EMFILE".to_owned());
            (point.aim, point.completed) = (Aim::Fail { call, turn: 1, errno }, completed);
            point.told = told;
        }
    };
    for (completed, told, expected) in [
        (true, None, PointOutcome::Met),
        (false, Some("no descriptors"), PointOutcome::Met),
        (false, None, PointOutcome::Failed),
    ] {
        assert_eq!(spoiled(Whom::Successor, fails(completed, told)).0.outcome, expected);
    }
}

#[test]
fn what_was_not_seen_proves_nothing() {
    let (point, outcome) = spoiled(Whom::Successor, |episode| episode.points[1].hit = None);
    assert_eq!((point.outcome, outcome), (PointOutcome::Unreached, Outcome::Pass));
    let mut incomplete = sweep(Whom::Successor);
    incomplete.complete = false;
    assert_eq!(judge_sweep(&incomplete).outcome, Outcome::Inconclusive);
    let nothing = Sweep { episodes: Vec::new(), ..sweep(Whom::Successor) };
    assert_eq!(judge_sweep(&nothing).outcome, Outcome::Inconclusive);
}
