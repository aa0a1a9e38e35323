//! Which datagrams of a flow wait for their answer, and what comes of them. Pure:
//! time and datagrams are handed in.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::greeting::{self, Template};
use super::pacer::Due;
use super::payload::{self, Reply};
use crate::clock::Stamp;
use crate::event::{Fate, Harm, Served};

/// So much at the beginning of a datagram tells whose it is: no two operations
/// begin alike.
const MARK: usize = 8;

type Mark = [u8; MARK];

/// A datagram that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// What the schedule wanted.
    pub(super) due: Due,
    /// When it was sent.
    pub(super) dispatched: Stamp,
    /// The youngest generation that had answered the flow by then.
    youngest: Option<u64>,
}

/// What a datagram that came is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Arrival {
    /// The answer to one that waited, which amounts to this.
    Answer(Sent, Fate),
    /// The answer to one that was given up as lost, and stays lost.
    TooLate,
    /// Nobody waited for it.
    Unasked(Harm),
}

/// The datagrams of one flow.
#[derive(Debug)]
pub(super) struct Flight {
    timeout: Duration,
    stall: Duration,
    /// Those that wait, in the order in which they were sent.
    waiting: BTreeMap<u64, Sent>,
    marks: HashMap<Mark, u64>,
    /// Those that have ended, and whether they were answered.
    ended: HashMap<Mark, bool>,
    youngest: Option<u64>,
}

impl Flight {
    /// A flow on which an answer is lost after `timeout`, and late after `stall`.
    pub(super) fn new(timeout: Duration, stall: Duration) -> Self {
        Self {
            timeout,
            stall,
            waiting: BTreeMap::new(),
            marks: HashMap::new(),
            ended: HashMap::new(),
            youngest: None,
        }
    }

    /// A datagram was sent.
    pub(super) fn sent(&mut self, due: Due, dispatched: Stamp) {
        self.marks.insert(mark_of(due.id), due.id);
        self.waiting.insert(due.id, Sent { due, dispatched, youngest: self.youngest });
    }

    /// A datagram came: who sent it, if it says so, and what it is.
    pub(super) fn came(
        &mut self,
        template: Option<&Template>,
        datagram: &[u8],
        now: Stamp,
    ) -> (Option<Served>, Arrival) {
        let (served, echo) = parted(template, datagram);
        let mark = echo.first_chunk::<MARK>();
        let known = mark.and_then(|mark| self.marks.get(mark).copied());
        let arrival = if let Some(id) = known {
            self.answered(id, echo, served, now)
        } else if let Some(answered) = mark.and_then(|mark| self.ended.get(mark)) {
            if *answered { Arrival::Unasked(Harm::DupBytes) } else { Arrival::TooLate }
        } else if let Some(id) = self.resembled(echo) {
            self.answered(id, echo, served, now)
        } else {
            Arrival::Unasked(Harm::Corrupt)
        };
        self.youngest = self.youngest.max(served.and_then(|served| served.generation));
        (served, arrival)
    }

    /// The kernel says that nobody is there: the last that was sent met nobody.
    pub(super) fn refused(&mut self) -> Option<Sent> {
        let id = *self.waiting.last_key_value()?.0;
        self.end(id, false)
    }

    /// Those that have waited too long.
    pub(super) fn expired(&mut self, now: Stamp) -> Vec<Sent> {
        let late = self.waiting.values().take_while(|sent| now >= self.deadline(sent));
        let late: Vec<u64> = late.map(|sent| sent.due.id).collect();
        late.into_iter().filter_map(|id| self.end(id, false)).collect()
    }

    /// When the next has waited too long.
    pub(super) fn next_deadline(&self) -> Option<Stamp> {
        self.waiting.first_key_value().map(|(_, sent)| self.deadline(sent))
    }

    /// All that wait still.
    pub(super) fn give_up(&mut self) -> Vec<Sent> {
        self.marks.clear();
        std::mem::take(&mut self.waiting).into_values().collect()
    }

    fn deadline(&self, sent: &Sent) -> Stamp {
        sent.dispatched.after(self.timeout)
    }

    fn end(&mut self, id: u64, answered: bool) -> Option<Sent> {
        let mark = mark_of(id);
        self.marks.remove(&mark);
        self.ended.insert(mark, answered);
        self.waiting.remove(&id)
    }

    fn answered(&mut self, id: u64, echo: &[u8], served: Option<Served>, now: Stamp) -> Arrival {
        let Some(sent) = self.end(id, true) else {
            return Arrival::Unasked(Harm::DupBytes);
        };
        let mut reply = Reply::to(id, sent.due.payload);
        reply.take(echo);
        let older = |served: Served| served.generation.is_some_and(|by| Some(by) < sent.youngest);
        let fate = if now >= self.deadline(&sent) {
            Fate::Harmed(Harm::UdpLost)
        } else if let Some(harm) = reply.harm() {
            Fate::Harmed(harm)
        } else if reply.left() > 0 {
            Fate::Harmed(Harm::LostBytes)
        } else if served.is_some_and(older) {
            // Whatever this flow had made of the younger one is not known to it.
            Fate::Harmed(Harm::UdpMisrouted)
        } else if now - sent.dispatched > self.stall {
            Fate::Harmed(Harm::StallAccept)
        } else {
            Fate::Ok
        };
        Arrival::Answer(sent, fate)
    }

    /// The one that waits and is much of this datagram, whose beginning is none that
    /// was sent: either something stands before it, or it was changed.
    fn resembled(&self, echo: &[u8]) -> Option<u64> {
        let inside = echo.array_windows::<MARK>().find_map(|window| self.marks.get(window));
        let changed = || {
            self.waiting.keys().find(|id| {
                let sent = payload::Source::new(**id);
                let same = echo.iter().zip(sent).filter(|(is, was)| **is == *was).count();
                4 * same > echo.len()
            })
        };
        inside.or_else(changed).copied()
    }
}

/// The greeting and what follows it. Without one it is all echo.
fn parted<'a>(template: Option<&Template>, datagram: &'a [u8]) -> (Option<Served>, &'a [u8]) {
    let parted = template.and_then(|template| {
        let end = datagram.iter().take(greeting::LONGEST).position(|byte| *byte == b'\n')?;
        let served = template.parse(datagram.get(..end)?)?;
        Some((Some(served), datagram.get(end + 1..)?))
    });
    parted.unwrap_or((None, datagram))
}

fn mark_of(id: u64) -> Mark {
    let mut mark = Mark::default();
    mark.iter_mut().zip(payload::Source::new(id)).for_each(|(place, byte)| *place = byte);
    mark
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(2);
    const STALL: Duration = Duration::from_secs(1);
    const SIZE: usize = 100;

    fn at(millis: u64) -> Stamp {
        Stamp(millis * 1_000_000)
    }

    /// A flow that has sent so many datagrams, one in a millisecond.
    fn flight(sent: u64) -> Flight {
        let mut flight = Flight::new(TIMEOUT, STALL);
        for id in 0..sent {
            send(&mut flight, id);
        }
        flight
    }

    fn send(flight: &mut Flight, id: u64) {
        let due = Due { id, population: 0, intended: at(id), payload: SIZE, half_close: false };
        flight.sent(due, at(id));
    }

    fn bytes(id: u64) -> Vec<u8> {
        payload::bytes(id, SIZE)
    }

    /// Whose answer it was, or what else, as one would say it.
    fn judged(flight: &mut Flight, datagram: &[u8], now: Stamp) -> String {
        let template = Template::new("{generation} {pid}").unwrap();
        match flight.came(Some(&template), datagram, now).1 {
            Arrival::Answer(sent, Fate::Harmed(harm)) => format!("{} {harm}", sent.due.id),
            Arrival::Answer(sent, fate) => format!("{} {fate:?}", sent.due.id),
            Arrival::TooLate => "too late".to_owned(),
            Arrival::Unasked(harm) => format!("unasked {harm}"),
        }
    }

    fn greeted(generation: u64, id: u64) -> Vec<u8> {
        [format!("{generation} 77\n").as_bytes(), &bytes(id)].concat()
    }

    #[test]
    fn every_answer_finds_its_question_in_whatever_order() {
        let mut flight = flight(3);
        for id in [2, 0, 1] {
            assert_eq!(judged(&mut flight, &bytes(id), at(5)), format!("{id} Ok"));
        }
        assert_eq!(flight.next_deadline(), None);
    }

    #[test]
    fn an_answer_says_who_gave_it_if_it_says_so() {
        let mut flight = flight(2);
        let template = Template::new("{generation} {pid}").unwrap();
        let (served, _) = flight.came(Some(&template), &greeted(4, 0), at(5));
        assert_eq!(served, Some(Served { generation: Some(4), pid: 77 }));
        let (served, _) = flight.came(Some(&template), &bytes(1), at(5));
        assert_eq!(served, None);
    }

    #[test]
    fn whatever_is_wrong_with_an_answer_has_its_name() {
        let (whole, other) = (bytes(0), bytes(9));
        let flipped = |place: usize| {
            let mut bytes = whole.clone();
            bytes[place] ^= 1;
            bytes
        };
        for (answer, expected) in [
            (flipped(50), "0 corrupt"),
            (flipped(0), "0 corrupt"),
            ([b"wrong", whole.as_slice()].concat(), "0 corrupt"),
            (whole[..60].to_vec(), "0 lost_bytes"),
            ([whole.as_slice(), &whole].concat(), "0 dup_bytes"),
            (other, "unasked corrupt"),
            (Vec::new(), "unasked corrupt"),
        ] {
            assert_eq!(judged(&mut flight(2), &answer, at(5)), expected);
        }
    }

    #[test]
    fn what_comes_twice_is_a_harm_and_what_was_lost_stays_lost() {
        let mut flight = flight(2);
        assert_eq!(judged(&mut flight, &bytes(0), at(5)), "0 Ok");
        assert_eq!(judged(&mut flight, &bytes(0), at(6)), "unasked dup_bytes");
        assert_eq!(flight.next_deadline(), Some(at(2001)));
        assert!(flight.expired(at(2000)).is_empty());
        assert_eq!(flight.expired(at(2001)).len(), 1);
        assert_eq!(judged(&mut flight, &bytes(1), at(2002)), "too late");
    }

    #[test]
    fn a_late_answer_is_a_stall_and_one_after_the_deadline_is_none() {
        assert_eq!(judged(&mut flight(1), &bytes(0), at(1000)), "0 Ok");
        assert_eq!(judged(&mut flight(1), &bytes(0), at(1001)), "0 stall_accept");
        assert_eq!(judged(&mut flight(1), &bytes(0), at(2000)), "0 udp_lost");
    }

    #[test]
    fn an_older_generation_must_not_answer_what_was_sent_after_a_younger_had() {
        let mut flight = flight(3);
        assert_eq!(judged(&mut flight, &greeted(5, 0), at(5)), "0 Ok");
        // It had been sent before, so the older may have had it already.
        assert_eq!(judged(&mut flight, &greeted(4, 1), at(5)), "1 Ok");
        send(&mut flight, 3);
        assert_eq!(judged(&mut flight, &greeted(4, 3), at(9)), "3 udp_misrouted");
        // Who does not say who it is is not accused.
        assert_eq!(judged(&mut flight, &bytes(2), at(9)), "2 Ok");
    }

    #[test]
    fn the_last_that_was_sent_is_the_one_that_was_refused() {
        let mut flight = flight(3);
        assert_eq!(flight.refused().map(|sent| sent.due.id), Some(2));
        assert_eq!(flight.give_up().len(), 2);
        assert!(flight.refused().is_none() && flight.give_up().is_empty());
    }
}
