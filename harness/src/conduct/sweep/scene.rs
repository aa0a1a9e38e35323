//! The upgrades of one server, each hit at a point of its own.

use std::collections::HashSet;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::time::Duration;

use super::aims::{Aims, Course};
use super::leftovers::Belongings;
use crate::chaos::trace::{Account, Deed, Orders, Tracer};
use crate::clock::Stamp;
use crate::conduct::stage::Stage;
use crate::conduct::trigger::Trigger;
use crate::event::{Aim, Exit, Point, Whom};
use crate::scenario::plan::By;
use crate::subject::native;

/// A request by a signal is not answered, and one that comes while the last upgrade is
/// not wholly over may be lost: after so long it is made again.
const AGAIN: Duration = Duration::from_secs(1);

/// How long after the answer to a request the new process may take to answer a client.
const MEETING: Duration = Duration::from_secs(2);

/// How long it may take until a process that is to be killed stands still.
const STANDSTILL: Duration = Duration::from_millis(500);

/// How long what an upgrade needs may outlast it.
const TIDYING: Duration = Duration::from_secs(2);

/// Those who read a report want one line.
const LINE: usize = 200;

/// One server, while it is hit.
pub(super) struct Scene<'s, 'a> {
    stage: &'s mut Stage<'a>,
    tracer: Tracer,
    whom: Whom,
    healthy_every: u64,
    /// What is there when nothing goes on.
    before: Belongings,
    /// Points since the last upgrade that nothing was done to.
    since: u64,
}

impl<'s, 'a> Scene<'s, 'a> {
    pub(super) fn new(stage: &'s mut Stage<'a>, tracer: Tracer, course: &Course) -> Self {
        let before = Belongings::default();
        let (whom, healthy_every) = (course.whom, course.healthy_every);
        Self { stage, tracer, whom, healthy_every, before, since: 0 }
    }

    /// Hits the server at point after point, until there are no more or it is no use
    /// any longer. Also why there was none, if so.
    pub(super) fn play(mut self, aims: &mut Aims) -> (Vec<Point>, Option<String>) {
        let mut points = Vec::new();
        if let Err(trouble) = self.rehearse(aims) {
            return (points, Some(trouble));
        }
        while self.stage.interrupted.is_none() {
            let Some((aim, deed)) = aims.next() else { break };
            let may_end = aims.may_end_it(&aim);
            let point = match self.point(aim, deed, may_end) {
                Ok(point) => point,
                Err(trouble) => return (points, Some(trouble)),
            };
            aims.note(&point);
            self.stage.progress.sabotaged += u64::from(point.hit.is_some());
            let usable = point.answered && !point.nobody && point.next != Some(false);
            points.push(point);
            if !usable {
                break;
            }
        }
        (points, None)
    }

    /// An upgrade that nothing is done to: it shows that there can be one, what it
    /// calls, and what is there afterwards.
    fn rehearse(&mut self, aims: &mut Aims) -> Result<(), String> {
        self.rest()?;
        self.smooth()?;
        if aims.need_calls() {
            // Not of the first: what the first process passes on may be less.
            let old = self.stage.serving().ok_or("the server has ended")?;
            self.order(old, Deed::Watch)?;
            self.smooth()?;
            aims.learn(&self.tracer.look(|account| upgrade_calls(account, self.whom)));
        }
        self.rest()?;
        let serving = self.stage.serving().ok_or("the server has ended")?;
        self.before = Belongings::look(serving, self.stage.directory).unwrap_or_default();
        Ok(())
    }

    /// An upgrade that has to complete.
    fn smooth(&mut self) -> Result<(), String> {
        let done = self.upgrade() && self.settle();
        done.then_some(())
            .ok_or_else(|| "it cannot be upgraded even if nothing is done to it".to_owned())
    }

    fn order(&self, old: u32, deed: Deed) -> Result<(), String> {
        let trigger = match &self.stage.plan.target.trigger.by {
            By::Signal(signal) => Some(native(*signal)),
            By::Command(_) | By::Socket { .. } => None,
        };
        let orders = Orders { old, whom: self.whom, deed, trigger };
        self.tracer.order(orders).map_err(|error| format!("cannot trace the server: {error}"))
    }

    /// Nobody is watched any longer.
    fn rest(&self) -> Result<(), String> {
        let serving = self.stage.serving().ok_or("the server has ended")?;
        self.tracer.rest(serving).map_err(|error| format!("cannot trace the server: {error}"))
    }

    /// One upgrade that is hit; `may_end`: the process may crash of it, and later.
    fn point(&mut self, aim: Aim, deed: Deed, may_end: bool) -> Result<Point, String> {
        let old = self.stage.serving().ok_or("the server has ended")?;
        let logged = self.log_length();
        let known = self.known();
        self.order(old, deed)?;
        let triggered = self.stage.clock.now();
        let mut trigger = self.stage.pull(old).map_err(|error| error.to_string())?;
        let mut point = Point {
            aim,
            old,
            triggered,
            hit: None,
            answered: false,
            nobody: false,
            completed: false,
            told: None,
            next: None,
            left: Vec::new(),
            until: triggered,
        };
        self.await_hit(&mut point, triggered);
        self.await_outcome(&mut point, &mut trigger, &known, deed);
        drop(trigger);
        point.told = point.told.take().or_else(|| self.complaint(logged));
        if point.answered && !point.nobody {
            self.rest()?;
            if may_end {
                self.note_crash(&mut point);
            }
            self.afterwards(&mut point);
        }
        point.until = self.stage.clock.now();
        Ok(point)
    }

    /// Waits until the fault is done, or cannot be any more.
    fn await_hit(&mut self, point: &mut Point, triggered: Stamp) {
        let give_up = triggered.after(self.stage.plan.target.ready_timeout);
        let (tracer, old) = (&self.tracer, point.old);
        let follows = self.whom == Whom::Successor && matches!(point.aim, Aim::KillAt(_));
        let mut condemned = None;
        self.stage.wait(give_up, |stage| {
            let (reached, doomed, successor) = tracer.look(|account| {
                let reached = account.hit.is_some() || account.trouble.is_some();
                (reached, account.condemned.is_some(), account.successor)
            });
            let now = stage.clock.now();
            if doomed && now > condemned.get_or_insert(now).after(STANDSTILL) {
                tracer.insist();
            }
            // A successor that serves comes to any call, sooner or later.
            let gone = stage.subject.is_gone(old) && !(follows && successor.is_some());
            reached || gone || successor.is_some_and(|pid| ended(stage, pid).is_some())
        });
        if tracer.look(|account| account.hit.is_none()) {
            // It is not to come later, when it would be blamed on something else.
            let _ = self.rest();
            return;
        }
        point.hit = tracer.look(|account| account.hit.clone());
        let Some(hit) = point.hit.as_mut().filter(|_| matches!(point.aim, Aim::KillAt(_))) else {
            return;
        };
        // A process that is killed is gone only when every thread of it is. Whoever
        // waits for it first is told how it ended: its tracer, or its parent.
        let gone = self.stage.clock.now().after(TIDYING);
        self.stage.wait(gone, |stage| {
            let traced = tracer.look(|account| account.ended.get(&hit.pid).copied());
            hit.ended = traced.or_else(|| ended(stage, hit.pid));
            hit.ended.is_some()
        });
    }

    /// Waits until it is known what came of the upgrade, and who serves now.
    fn await_outcome(
        &mut self,
        point: &mut Point,
        trigger: &mut Trigger,
        known: &HashSet<u32>,
        deed: Deed,
    ) {
        let struck = self.stage.clock.now();
        let give_up = struck.after(self.stage.plan.target.ready_timeout);
        let kills = matches!(deed, Deed::KillAt(_)) && point.hit.is_some();
        // A successor that was killed is not waited for.
        let succeeds = !(kills && self.whom == Whom::Successor);
        let newcomer = |stage: &Stage<'_>| {
            stage.sightings.all().into_iter().any(|served| !known.contains(&served.pid))
        };
        let mut answer = None;
        self.stage.wait(give_up, |stage| {
            if answer.is_none() {
                answer = trigger.outcome().map(|outcome| (outcome, stage.clock.now()));
            }
            let Some((outcome, when)) = &answer else { return stage.subject.is_over() };
            let met = newcomer(stage) || stage.clock.now() > when.after(MEETING);
            outcome.is_err() || !succeeds || met || stage.subject.is_over()
        });
        point.completed = succeeds && newcomer(self.stage);
        point.told = answer.and_then(|(outcome, _)| outcome.err()).map(|text| line(&text));
        let decided = self.stage.clock.now();
        let from = if kills { struck } else { decided };
        self.stage.wait(decided.after(self.stage.plan.target.ready_timeout), |stage| {
            point.answered = stage
                .sightings
                .all()
                .into_iter()
                .any(|served| stage.sightings.newest_by(served.pid) > Some(from));
            point.nobody = stage.subject.is_over();
            point.answered || point.nobody
        });
        // The last may have answered somebody and have ended then.
        point.nobody |= self.stage.subject.is_over();
    }

    /// Whether the service is as well as it was.
    fn afterwards(&mut self, point: &mut Point) {
        self.since += 1;
        if self.since >= self.healthy_every {
            self.since = 0;
            self.settle();
            point.next = Some(self.upgrade());
        }
        if !self.settle() {
            let alive = self.stage.subject.alive();
            point.left.push(format!("{alive} processes, and not 1"));
        } else if let Some(serving) = self.stage.serving() {
            let (before, directory) = (&self.before, self.stage.directory);
            let left = || {
                let now = Belongings::look(serving, directory)?;
                Some(now.more_than(before))
            };
            let mut found = Vec::new();
            let clean = self.stage.wait(self.stage.clock.now().after(TIDYING), |_| {
                found = left().unwrap_or_default();
                found.is_empty()
            });
            point.left.extend(found);
            // Whose fault it is was said; the next points are not to be blamed for it.
            if !clean && let Some(now) = Belongings::look(serving, directory) {
                self.before = now;
            }
        }
    }

    /// A process that crashed of what was done to it takes its own connections with it,
    /// and if it was the successor, it is one no more.
    fn note_crash(&mut self, point: &mut Point) {
        // Either it or its predecessor is left.
        self.settle();
        let Some(hit) = &mut point.hit else { return };
        if self.stage.subject.is_gone(hit.pid) {
            hit.ended = Some(ended(self.stage, hit.pid).unwrap_or(Exit::Reaped));
            point.completed = false;
        }
    }

    /// An upgrade that nothing is done to; whether it completed.
    fn upgrade(&mut self) -> bool {
        let until = self.stage.clock.now().after(self.stage.plan.target.ready_timeout);
        loop {
            let Some(old) = self.stage.serving() else { return false };
            let known = self.known();
            let Ok(mut trigger) = self.stage.pull(old) else { return false };
            let again = self.stage.clock.now().after(AGAIN).min(until);
            let mut refused = false;
            let by_signal = matches!(self.stage.plan.target.trigger.by, By::Signal(_));
            let end = if by_signal { again } else { until };
            let done = self.stage.wait(end, |stage| {
                let outcome = trigger.outcome();
                refused = matches!(outcome, Some(Err(_)));
                let all = stage.sightings.all().into_iter();
                let newcomer = all.map(|served| served.pid).any(|pid| !known.contains(&pid));
                refused || (outcome.is_some() && newcomer) || stage.subject.is_over()
            });
            if done && !refused && !self.stage.subject.is_over() {
                self.stage.progress.upgrades += 1;
                return true;
            }
            if refused || !by_signal || self.stage.clock.now() >= until {
                return false;
            }
        }
    }

    /// Waits until one process is left; whether one is.
    fn settle(&mut self) -> bool {
        let until = self.stage.clock.now().after(self.stage.plan.target.drain_timeout);
        self.stage.wait(until, |stage| stage.subject.alive() <= 1)
    }

    /// Who has answered so far.
    fn known(&self) -> HashSet<u32> {
        self.stage.sightings.all().into_iter().map(|served| served.pid).collect()
    }

    fn log_length(&self) -> u64 {
        fs::metadata(self.stage.directory.join("target.log")).map_or(0, |file| file.len())
    }

    /// The first warning in the server's log since then, if it writes such.
    fn complaint(&self, since: u64) -> Option<String> {
        let mut file = fs::File::open(self.stage.directory.join("target.log")).ok()?;
        file.seek(SeekFrom::Start(since)).ok()?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).ok()?;
        let text = String::from_utf8_lossy(&text);
        let complaint = text.lines().find(|line| {
            [" WARN ", " ERROR ", "panicked at"].iter().any(|word| line.contains(word))
        });
        complaint.map(line)
    }
}

/// How a process ended, if it is known to have ended and how. One whose parent is slow
/// to take its status may have been seen a second time, when only its name was left.
fn ended(stage: &Stage<'_>, pid: u32) -> Option<Exit> {
    let seen = stage.subject.processes().iter().rev().filter(|process| process.pid == pid);
    seen.filter_map(|process| process.exit).find(|exit| *exit != Exit::Reaped)
}

/// The calls of an upgrade. A successor's are those of its start: what it calls for its
/// clients is of no upgrade.
fn upgrade_calls(account: &Account, whom: Whom) -> Vec<&'static str> {
    let first = account.calls.iter().position(|call| call.starts_with("accept"));
    let served = first.filter(|_| whom == Whom::Successor);
    account.calls.get(..served.unwrap_or(account.calls.len())).unwrap_or_default().to_vec()
}

fn line(text: &str) -> String {
    text.replace('\n', " ").chars().take(LINE).collect()
}
