//! Which points there are.

use std::collections::{BTreeMap, VecDeque};
use std::io;

use nix::errno::Errno;
use syscalls::Sysno;

use crate::chaos::Errors;
use crate::chaos::trace::Deed;
use crate::event::{Aim, Phase, Point, Whom};

/// What a sweep does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Course {
    /// Whose calls it is about.
    pub whom: Whom,
    /// Calls are made to fail, each in every way; otherwise, the process is killed at each.
    pub errors: bool,
    /// Of the calls that can fail, only this one.
    pub call: Option<Sysno>,
    /// Which of the points.
    pub span: Span,
    /// After so many points comes an upgrade that nothing is done to.
    pub healthy_every: u64,
}

/// A part of the points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first, counted from 1.
    pub from: u64,
    /// The last, if the upgrade has so many.
    pub to: u64,
    /// From one to the next.
    pub step: u64,
}

/// The points that are still to come.
#[derive(Debug)]
pub(super) struct Aims {
    course: Course,
    errors: Errors,
    /// The next call that is to kill.
    next: u64,
    /// The failures that are to come; `None`: nobody has seen yet what can fail.
    failures: Option<VecDeque<Failure>>,
    done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Failure {
    call: Sysno,
    turn: u64,
    errno: Errno,
}

impl Aims {
    pub(super) fn new(course: Course) -> io::Result<Self> {
        let errors = Errors::load().map_err(io::Error::other)?;
        Ok(Self { course, errors, next: course.span.from, failures: None, done: false })
    }

    /// Whether the calls of an upgrade have to be known first.
    pub(super) fn need_calls(&self) -> bool {
        self.course.errors && self.failures.is_none()
    }

    /// These are the calls of an upgrade that nothing was done to.
    pub(super) fn learn(&mut self, calls: &[&'static str]) {
        let mut counts: BTreeMap<Sysno, u64> = BTreeMap::new();
        let mut all = Vec::new();
        let wanted = |call: &Sysno| self.course.call.is_none_or(|only| only == *call);
        for call in calls.iter().filter_map(|name| name.parse().ok()).filter(wanted) {
            let turn = counts.entry(call).or_default();
            *turn += 1;
            let turn = *turn;
            let errors = self.errors.of(self.course.whom, call);
            all.extend(errors.map(|errno| Failure { call, turn, errno }));
        }
        let Span { from, to, step } = self.course.span;
        let chosen = (1..).zip(all).filter(|(number, _): &(u64, _)| {
            *number >= from && *number <= to && (number - from).is_multiple_of(step)
        });
        self.failures = Some(chosen.map(|(_, failure)| failure).collect());
    }

    /// Whether there are no more.
    pub(super) fn are_done(&self) -> bool {
        self.done
    }

    /// Whether the process that this is done to may end of it, whenever it comes to
    /// the call: a thread of its runtime may do so when it serves.
    pub(super) fn may_end_it(&self, aim: &Aim) -> bool {
        let Aim::Fail { call, .. } = aim else { return false };
        call.parse().is_ok_and(|call| self.errors.is_runtimes(call))
    }

    /// The next point.
    pub(super) fn next(&mut self) -> Option<(Aim, Deed)> {
        let next = if self.course.errors {
            self.failures.as_mut().and_then(VecDeque::pop_front).map(|failure| {
                let Failure { call, turn, errno } = failure;
                let (name, error) = (call.name().to_owned(), format!("{errno:?}"));
                (Aim::Fail { call: name, turn, errno: error }, Deed::Fail { call, turn, errno })
            })
        } else {
            let number = self.next;
            (!self.done && number <= self.course.span.to)
                .then_some((Aim::KillAt(number), Deed::KillAt(number)))
        };
        self.next = self.next.saturating_add(self.course.span.step);
        self.done |= next.is_none();
        next
    }

    /// What came of a point. A sweep of kills is over when the successor was ready and
    /// had its first client, or when the predecessor had ended before that call.
    pub(super) fn note(&mut self, point: &Point) {
        if self.course.errors {
            return;
        }
        self.done |= match (&point.hit, self.course.whom) {
            (Some(hit), Whom::Successor) => hit.accepted > 0 && hit.phase != Phase::Passed,
            (None, Whom::Predecessor) => point.completed,
            (Some(_), Whom::Predecessor) | (None, Whom::Successor) => false,
        };
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::clock::Stamp;
    use crate::event::Hit;

    fn course(whom: Whom, errors: bool, span: Span) -> Course {
        Course { whom, errors, call: None, span, healthy_every: 1 }
    }

    fn point(hit: Option<Hit>, completed: bool) -> Point {
        Point {
            aim: Aim::KillAt(1),
            old: 1,
            triggered: Stamp(0),
            hit,
            answered: true,
            nobody: false,
            completed,
            told: None,
            next: None,
            left: Vec::new(),
            until: Stamp(1),
        }
    }

    fn hit(phase: Phase, accepted: u64) -> Hit {
        let clients = BTreeSet::new();
        Hit { pid: 2, number: 1, call: "read", phase, accepted, clients, ended: None }
    }

    #[test]
    fn a_successor_is_killed_at_each_call_until_it_has_a_client_and_is_ready() {
        let span = Span { from: 1, to: u64::MAX, step: 1 };
        let mut aims = Aims::new(course(Whom::Successor, false, span)).unwrap();
        for (number, hit) in
            (1..).zip([hit(Phase::Started, 0), hit(Phase::Passed, 3), hit(Phase::Ready, 1)])
        {
            assert!(!aims.are_done());
            assert_eq!(aims.next(), Some((Aim::KillAt(number), Deed::KillAt(number))));
            aims.note(&point(Some(hit), false));
        }
        assert_eq!((aims.next(), aims.are_done()), (None, true));
    }

    #[test]
    fn a_predecessor_is_killed_at_each_call_until_it_has_none_left() {
        let span = Span { from: 5, to: u64::MAX, step: 10 };
        let mut aims = Aims::new(course(Whom::Predecessor, false, span)).unwrap();
        assert_eq!(aims.next().unwrap().0, Aim::KillAt(5));
        aims.note(&point(Some(hit(Phase::Asked, 0)), false));
        assert_eq!(aims.next().unwrap().0, Aim::KillAt(15));
        aims.note(&point(None, true));
        assert_eq!((aims.next(), aims.are_done()), (None, true));
    }

    #[test]
    fn every_call_fails_in_every_way_of_its_page() {
        let span = Span { from: 1, to: u64::MAX, step: 1 };
        let mut aims = Aims::new(course(Whom::Successor, true, span)).unwrap();
        assert!(aims.need_calls());
        aims.learn(&["pipe2", "getpid", "wait4", "pipe2"]);
        assert!(!aims.need_calls());
        let mut all = Vec::new();
        while let Some((Aim::Fail { call, turn, errno }, _)) = aims.next() {
            all.push(format!("{call} {turn} {errno}"));
        }
        assert!(aims.are_done());
        let pipe = ["EINVAL", "EMFILE", "ENFILE", "ENOPKG"];
        let first = pipe.map(|error| format!("pipe2 1 {error}"));
        let second = pipe.map(|error| format!("pipe2 2 {error}"));
        assert!(all.starts_with(&first) && all.ends_with(&second), "{all:?}");
        assert!(all.contains(&"wait4 1 ECHILD".to_owned()), "{all:?}");
    }
}
