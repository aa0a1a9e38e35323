//! Both ends, driven through every interleaving that chance finds, against the
//! promises of the handoff.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

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
    /// The successor, if it serves, is told to stop.
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
            Step::StopSuccessor if self.new_alive && self.new_accepts => {
                self.new_stopped = true;
                self.to_old.push_back(Seen::Stopping);
                self.end_successor();
            }
            Step::Garbage | Step::Close | Step::StopSuccessor => {}
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
                Do::Say(word) => self.to_new.push_back(Heard::Word(word)),
                Do::Kill => self.end_successor(),
                Do::Finish(verdict) => {
                    assert_eq!(self.verdict, None, "an upgrade ends once");
                    self.verdict = Some(verdict);
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
                Act::SayReady => self.to_old.push_back(Seen::Ready(Dialect::Ours)),
                Act::Accept => self.new_accepts = true,
                Act::Settle(then) => {
                    assert_eq!(self.settled, None, "a successor settles once");
                    self.settled = Some(then);
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
        assert!(!(self.old_accepts && self.new_accepts), "two generations accept at once");
        if let Some(verdict) = self.verdict
            && self.old_alive
        {
            if verdict == Verdict::Completed {
                assert!(!self.old_accepts, "the old generation accepts after its end");
            } else {
                assert!(self.old_accepts, "a failed upgrade must leave the old one accepting");
                assert!(!self.new_alive, "a failed upgrade must leave no successor");
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
        if world.new_alive || (world.old_alive && !completed) {
            prop_assert!(world.old_accepts || world.new_accepts, "nobody accepts");
        }
        // A stop is not undone by the one who would roll back.
        if world.new_stopped {
            prop_assert!(!world.old_accepts, "the old one serves after a stop");
        }
        // Every upgrade comes to an end, and what was asked meanwhile is
        // passed on with it.
        if world.old_alive {
            prop_assert!(world.verdict.is_some());
            if completed && world.new_alive {
                prop_assert!(world.settled.is_some());
            }
            if world.stop_asked && world.verdict == Some(Verdict::Completed) && world.new_alive {
                prop_assert_eq!(world.settled, Some(Then::Stop));
            } else if world.upgrade_asked && !world.stop_asked && completed && world.new_alive {
                prop_assert_eq!(world.settled, Some(Then::Upgrade));
            }
        } else if world.new_alive {
            prop_assert!(world.settled.is_some(), "a successor left alone must settle");
        }
    }

    #[test]
    fn ready_is_understood_however_it_is_cut(bytes: Vec<u8>, ended: bool) {
        let seen = read_ready(&bytes, ended);
        prop_assert!(!ended || seen.is_some(), "at the end there is nothing to wait for");
        if let Some(Seen::Ready(_)) = seen {
            prop_assert!(bytes.starts_with(READY));
        }
    }
}

#[test]
fn ready_of_either_dialect_is_told_apart() {
    assert_eq!(read_ready(b"", false), None);
    assert_eq!(read_ready(b"O", false), None);
    assert_eq!(read_ready(b"OK", false), None);
    assert_eq!(read_ready(b"OK", true), Some(Seen::Ready(Dialect::Published)));
    assert_eq!(read_ready(READY_OURS, false), Some(Seen::Ready(Dialect::Ours)));
    assert_eq!(read_ready(b"OKe\x02more", false), Some(Seen::Ready(Dialect::Ours)));
    assert_eq!(read_ready(b"KO", false), Some(Seen::Garbage));
    assert_eq!(read_ready(b"O", true), Some(Seen::Garbage));
    assert_eq!(read_ready(b"", true), Some(Seen::Closed));
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
fn a_published_predecessor_is_not_waited_for() {
    let mut joining = Joining::new(Dialect::Published);
    let acts = joining.handle(Heard::Initialised);
    assert_eq!(acts, [Act::SayReady, Act::Accept, Act::Settle(Then::Serve)]);
    assert_eq!(joining.handle(Heard::Gone), []);
}

#[test]
fn words_are_what_their_bytes_say() {
    for byte in 0..=u8::MAX {
        if let Some(word) = Word::from_byte(byte) {
            assert_eq!(word.byte(), byte);
        }
    }
    assert_eq!(Word::from_byte(b'?'), None);
}
