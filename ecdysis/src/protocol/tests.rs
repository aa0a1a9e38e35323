//! Both ends, driven through every interleaving that chance finds, against the
//! promises of the handoff.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::manifest::Dialect;

/// What chance may do next.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The successor's application is initialised.
    Initialise,
    /// The oldest message to the predecessor arrives.
    ToPredecessor,
    /// The oldest message to the successor arrives.
    ToSuccessor,
    /// The successor ends.
    KillSuccessor,
    /// The predecessor ends.
    KillPredecessor,
    /// The predecessor's deadline passes.
    Deadline,
    /// An upgrade is asked of the predecessor.
    AskUpgrade,
    /// A stop is asked of the predecessor.
    AskStop,
    /// The successor writes nonsense.
    Garbage,
    /// The successor closes its ready pipe.
    Close,
    /// The successor ends, and a fork of it goes on with all that it had.
    Fork,
    /// The successor is told to stop: one that serves ends, one that does not yet
    /// says so when it should.
    StopSuccessor,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Initialise),
        6 => Just(Step::ToPredecessor),
        6 => Just(Step::ToSuccessor),
        1 => Just(Step::KillSuccessor),
        1 => Just(Step::KillPredecessor),
        2 => Just(Step::Deadline),
        1 => Just(Step::AskUpgrade),
        1 => Just(Step::AskStop),
        1 => Just(Step::Garbage),
        1 => Just(Step::Close),
        1 => Just(Step::Fork),
        1 => Just(Step::StopSuccessor),
    ]
}

/// Two processes and the pipes between them.
struct World {
    now: Instant,
    leaving: Leaving,
    joining: Joining,
    old_alive: bool,
    new_alive: bool,
    old_accepts: bool,
    new_accepts: bool,
    to_old: VecDeque<Seen>,
    to_new: VecDeque<Heard>,
    verdict: Option<Verdict>,
    settled: Option<Then>,
    stop_asked: bool,
    upgrade_asked: bool,
    new_stopped: bool,
    new_declines: bool,
    new_forked: bool,
}

impl World {
    fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let now = Instant::now();
        Self {
            now,
            leaving: Leaving::new(now + Duration::from_secs(1), Duration::from_secs(1)),
            joining: Joining::new(Dialect::Ours),
            old_alive: true,
            new_alive: true,
            old_accepts: true,
            new_accepts: false,
            to_old: VecDeque::new(),
            to_new: VecDeque::new(),
            verdict: None,
            settled: None,
            stop_asked: false,
            upgrade_asked: false,
            new_stopped: false,
            new_declines: false,
            new_forked: false,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Initialise => self.hear(Heard::Initialised),
            Step::ToPredecessor => {
                if let Some(seen) = self.to_old.pop_front() {
                    self.see(seen);
                }
            }
            Step::ToSuccessor => {
                if let Some(heard) = self.to_new.pop_front() {
                    self.hear(heard);
                }
            }
            Step::KillSuccessor => self.end_successor(),
            Step::KillPredecessor => {
                self.old_alive = false;
                self.old_accepts = false;
                self.to_new.push_back(Heard::Gone);
            }
            Step::Deadline => {
                if let Some(deadline) = self.leaving.deadline() {
                    self.now = self.now.max(deadline);
                    self.see(Seen::Deadline);
                }
            }
            Step::AskUpgrade => {
                self.upgrade_asked |= self.old_alive && self.verdict.is_none();
                self.see(Seen::AskedUpgrade);
            }
            Step::AskStop => {
                self.stop_asked |= self.old_alive && self.verdict.is_none();
                self.see(Seen::AskedStop { partial: false });
            }
            Step::Garbage if self.new_alive => self.to_old.push_back(Seen::Garbage),
            Step::Close if self.new_alive => self.to_old.push_back(Seen::Closed),
            Step::Fork if self.new_alive && !self.new_forked => {
                self.new_forked = true;
                self.to_old.push_back(Seen::Died);
            }
            Step::StopSuccessor if self.new_forked => {}
            Step::StopSuccessor if self.new_alive && self.new_accepts => {
                self.new_stopped = true;
                if self.settled.is_none() {
                    self.to_old.push_back(Seen::Later(Later::Stopping));
                }
                self.end_successor();
            }
            Step::StopSuccessor if self.new_alive => self.new_declines = true,
            Step::Garbage | Step::Close | Step::Fork | Step::StopSuccessor => {}
        }
    }

    fn see(&mut self, seen: Seen) {
        if !self.old_alive {
            return;
        }
        for action in self.leaving.handle(self.now, seen) {
            match action {
                Do::StopAccepting => self.old_accepts = false,
                Do::AcceptAgain => self.old_accepts = true,
                Do::SayGo => self.to_new.push_back(Heard::Word(Word::Go)),
                Do::SaySettled(then) => {
                    self.to_new.push_back(Heard::Word(Word::Settled(then)));
                }
                Do::Mark { .. } => {}
                Do::Kill => {
                    self.to_new.push_back(Heard::Word(Word::GivenUp));
                    if !self.new_forked {
                        self.end_successor();
                    }
                }
                Do::Finish(verdict) => {
                    assert_eq!(self.verdict, None, "an upgrade ends once");
                    self.verdict = Some(verdict);
                    // Its end of the pipe is closed.
                    self.to_new.push_back(Heard::Gone);
                }
            }
        }
    }

    fn hear(&mut self, heard: Heard) {
        if !self.new_alive {
            return;
        }
        for action in self.joining.handle(heard) {
            match action {
                Act::Accept if self.new_declines => {
                    self.to_old.push_back(Seen::Later(Later::Declined));
                    return;
                }
                Act::Settle(_) if self.new_declines => return,
                Act::GiveWay => self.end_successor(),
                // However slowly it says so.
                Act::SayReady => self.to_old.extend([Seen::Paused, Seen::Ready(Dialect::Ours)]),
                Act::Accept => self.new_accepts = true,
                Act::Settle(then) => {
                    assert_eq!(self.settled, None, "a successor settles once");
                    self.settled = Some(then);
                    self.to_old.push_back(Seen::Closed);
                }
            }
        }
    }

    fn end_successor(&mut self) {
        if self.new_alive {
            self.new_alive = false;
            self.new_accepts = false;
            self.to_old.push_back(Seen::Died);
        }
    }

    fn check(&self) {
        // Of one that forks on probation, until it hears that it was given up.
        let both = self.old_accepts && self.new_accepts && !self.new_forked;
        assert!(!both, "two generations accept at once");
        if let Some(verdict) = self.verdict
            && self.old_alive
        {
            if verdict == Verdict::Completed {
                assert!(!self.old_accepts, "the old generation accepts after its end");
            } else {
                assert!(self.old_accepts, "a failed upgrade must leave the old one accepting");
                let lives = self.new_alive && !self.new_forked;
                assert!(!lives, "a failed upgrade must leave no successor");
            }
        }
    }

    /// Delivers what is under way, lets the deadlines pass, and delivers what
    /// that set off: nothing more will happen by itself.
    fn quiesce(&mut self) {
        for _ in 0..8 {
            while !self.to_old.is_empty() || !self.to_new.is_empty() {
                self.step(Step::ToPredecessor);
                self.step(Step::ToSuccessor);
                self.check();
            }
            self.step(Step::Initialise);
            self.step(Step::ToPredecessor);
            self.step(Step::Deadline);
            self.check();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn promises_hold_in_every_interleaving(steps in prop::collection::vec(step(), 0..40)) {
        let mut world = World::new();
        world.check();
        for step in steps {
            world.step(step);
            world.check();
        }
        world.quiesce();

        // Somebody accepts, as long as anybody is left who could.
        let completed = world.verdict == Some(Verdict::Completed);
        let new_serves = world.new_alive && !world.new_declines;
        if new_serves || (world.old_alive && !completed) {
            prop_assert!(world.old_accepts || world.new_accepts, "nobody accepts");
        }
        // What a fork of a successor holds is no part of a service that its
        // predecessor serves.
        if world.new_forked && world.old_accepts {
            prop_assert!(!world.new_accepts || world.settled.is_some(), "a rogue serves");
        }
        // A stop is not undone by the one who would roll back.
        if world.new_stopped {
            prop_assert!(!world.old_accepts, "the old one serves after a stop");
        }
        // Every upgrade comes to an end, and what was asked meanwhile is
        // passed on with it.
        if world.old_alive {
            prop_assert!(world.verdict.is_some());
            if completed && new_serves {
                prop_assert!(world.settled.is_some());
            }
            let passed_on = world.leaving.owes().or(world.settled);
            if world.stop_asked && completed && new_serves {
                prop_assert_eq!(passed_on, Some(Then::Stop));
            } else if world.upgrade_asked && completed && new_serves {
                prop_assert_eq!(passed_on, Some(Then::Upgrade));
            }
        } else if new_serves {
            prop_assert!(world.settled.is_some(), "a successor left alone must settle");
        }
    }
}

#[test]
fn a_published_successor_completes_without_a_word() {
    let mut world = World::new();
    let done = world.leaving.handle(world.now, Seen::Ready(Dialect::Published));
    assert_eq!(done, [Do::StopAccepting]);
    let done = world.leaving.handle(world.now, Seen::Deadline);
    assert_eq!(done, [Do::Finish(Verdict::Completed)]);
}

#[test]
fn a_published_successor_is_believed_without_the_end_of_its_pipe() {
    let mut world = World::new();
    assert_eq!(world.leaving.handle(world.now, Seen::Paused), []);
    let deadline = world.leaving.deadline().unwrap();
    assert_eq!(deadline - world.now, Duration::from_millis(50));
    let done = world.leaving.handle(deadline, Seen::Deadline);
    assert_eq!(done, [Do::StopAccepting]);
    let done = world.leaving.handle(world.now, Seen::Deadline);
    assert_eq!(done, [Do::Finish(Verdict::Completed)]);
}

#[test]
fn one_of_ours_that_is_slow_to_say_so_is_told_to_go() {
    let mut world = World::new();
    world.see(Seen::Paused);
    world.see(Seen::Deadline);
    world.hear(Heard::Initialised);
    world.see(Seen::Ready(Dialect::Ours));
    assert_eq!(world.to_new, [Heard::Word(Word::Go)]);
}

#[test]
fn a_published_predecessor_is_not_waited_for() {
    let mut joining = Joining::new(Dialect::Published);
    let acts = joining.handle(Heard::Initialised);
    assert_eq!(acts, [Act::SayReady, Act::Accept, Act::Settle(Then::Serve)]);
    assert_eq!(joining.handle(Heard::Gone), []);
}

#[test]
fn what_is_asked_too_late_for_words_is_owed() {
    let mut world = World::new();
    world.see(Seen::Ready(Dialect::Ours));
    world.see(Seen::Deadline);
    assert_eq!(world.leaving.owes(), None);
    world.see(Seen::AskedStop { partial: false });
    world.see(Seen::AskedUpgrade);
    world.see(Seen::AskedStop { partial: true });
    world.see(Seen::Closed);
    assert_eq!((world.verdict, world.leaving.owes()), (Some(Verdict::Completed), Some(Then::Stop)));
}

#[test]
fn what_a_published_successor_cannot_hear_is_owed() {
    let mut world = World::new();
    world.see(Seen::Ready(Dialect::Published));
    world.see(Seen::AskedUpgrade);
    world.see(Seen::Deadline);
    let owed = (world.verdict, world.leaving.owes());
    assert_eq!(owed, (Some(Verdict::Completed), Some(Then::Upgrade)));
}

#[test]
fn a_successor_that_dies_as_it_settles_is_rolled_back() {
    let mut world = World::new();
    world.see(Seen::Ready(Dialect::Ours));
    world.see(Seen::Deadline);
    world.see(Seen::Died);
    assert_eq!((world.verdict, world.old_accepts), (Some(Verdict::RolledBack), true));
}

/// It was given all the time of the probation to end; if it took longer, the
/// predecessor let go, and nobody served.
#[test]
fn one_that_will_not_serve_is_not_waited_for() {
    for settled in [false, true] {
        let mut world = World::new();
        world.hear(Heard::Initialised);
        world.step(Step::StopSuccessor);
        world.step(Step::ToPredecessor);
        world.step(Step::ToPredecessor);
        assert!(!world.old_accepts, "it has said go");
        if settled {
            world.step(Step::Deadline);
        }
        world.step(Step::ToSuccessor);
        world.step(Step::ToPredecessor);
        let outcome = (world.verdict, world.old_accepts, world.new_alive);
        assert_eq!(outcome, (Some(Verdict::RolledBack), true, false));
    }
}

/// Both know then that the predecessor ends last.
#[test]
fn a_stop_of_the_successor_is_said_back_if_it_was_heard_in_time() {
    let settled = |told: &[Seen]| {
        let mut world = World::new();
        world.see(Seen::Ready(Dialect::Ours));
        told.iter().for_each(|seen| world.see(*seen));
        world.see(Seen::Deadline);
        let said = world.to_new.iter().find(|heard| !matches!(heard, Heard::Word(Word::Go)));
        said.copied().unwrap()
    };
    let (partly, stopping) = (Seen::Later(Later::Partly), Seen::Later(Later::Stopping));
    for (told, then) in [
        (&[][..], Then::Serve),
        (&[stopping], Then::Stop),
        (&[Seen::AskedUpgrade, stopping], Then::Stop),
        (&[partly, stopping], Then::Serve),
        (&[Seen::Deadline, stopping], Then::Serve),
    ] {
        assert_eq!(settled(told), Heard::Word(Word::Settled(then)), "{told:?}");
    }
}
