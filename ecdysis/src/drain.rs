//! Connections in flight, and how a process comes to an end without cutting them.
//!
//! [`Connections`] counts. It has no clock and no runtime: whoever drives it
//! says when somebody is to finish ([`Connections::finish_part`]) and when the
//! rest is cut ([`Connections::hurry`]). A connection that never asks whether it
//! is to finish costs four atomic additions in all, and allocates nothing. Both
//! signals are for good: a process that drains ends.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeBounds;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How long a drain waits for connections that it has cut. They have nothing
/// left to do but to let go, so this is time for many tasks to be scheduled;
/// one that never lets go must not keep the process.
pub(crate) const CUT_GRACE: Duration = Duration::from_millis(100);

/// Every connection has a place below this in the order in which they finish.
const PLACES: u64 = 1 << 32;

/// The connections in flight in this process. Clones share them.
///
/// ```
/// # use std::time::Duration;
/// let connections = ecdysis::Connections::default();
/// let connection = connections.enter();
/// assert_eq!(connections.in_flight(), 1);
/// std::thread::spawn(move || {
///     // Serve, and look at `connection.is_finishing()` between two requests.
///     drop(connection);
/// });
/// let drained = connections.drain_blocking(Duration::from_secs(30));
/// assert!(drained.is_clean(), "{drained}");
/// ```
#[derive(Clone, Default)]
pub struct Connections(Arc<Shared>);

/// A connection in flight, until it is dropped. Keep it where the connection
/// is, and drop it after the connection.
///
/// ```no_run
/// # async fn serve(_connection: &ecdysis::Connection) {}
/// # async fn task(connections: ecdysis::Connections) {
/// let connection = connections.enter();
/// tokio::select! {
///     () = serve(&connection) => {}
///     () = connection.cut() => {}
/// }
/// # }
/// ```
pub struct Connection {
    shared: Arc<Shared>,
    place: u64,
}

/// What became of the connections that were in flight when a drain began, and
/// of those that came later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Those that finished.
    pub served: u64,
    /// Those that did not finish by the deadline, or until somebody hurried.
    pub cut: usize,
}

/// Who left is counted by how, so that entering and leaving cost one addition
/// each. Everything is sequentially consistent: each side changes its own
/// counter and then looks at the other's, and one of the two must see the other.
#[derive(Default)]
struct Shared {
    entered: AtomicU64,
    served: AtomicU64,
    cut: AtomicU64,
    /// Who has a lower place is to finish. 0: nobody, and there is no drain.
    told: AtomicU64,
    cutting: AtomicBool,
    /// How many wait for the last connection. Where there is none, whoever
    /// leaves has nobody to wake and takes no lock.
    watchers: AtomicUsize,
    waiting: Mutex<WaitingList>,
    changed: Condvar,
}

#[derive(Default)]
struct WaitingList {
    next: u64,
    wakers: BTreeMap<(Event, u64), Waker>,
}

/// What is waited for. In this order: a cut wakes all that comes before `Idle`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The connection at this place is to finish.
    Told(u64),
    /// Everything is cut.
    Cut,
    /// Nothing is in flight.
    Idle,
}

impl Connections {
    /// Counts one connection more, until the guard is dropped. If the process
    /// drains already, the connection is told to finish at once.
    pub fn enter(&self) -> Connection {
        let shared = Arc::clone(&self.0);
        let serial = shared.entered.fetch_add(1, Ordering::SeqCst);
        let late = shared.told.load(Ordering::SeqCst) > 0;
        Connection { place: if late { 0 } else { place(serial) }, shared }
    }

    /// How many there are now.
    pub fn in_flight(&self) -> usize {
        usize::try_from(self.0.in_flight()).unwrap_or(usize::MAX)
    }

    /// How many have ended so far without having been cut.
    pub fn served(&self) -> u64 {
        self.0.served.load(Ordering::SeqCst)
    }

    /// Tells every connection to finish what it does and to close.
    pub fn finish(&self) {
        self.finish_part(1, 1);
    }

    /// Tells the first `part` of `parts` of the connections to finish, and
    /// whoever comes from now on. Called with rising parts, it has clients come
    /// back one after the other and not all at once: the runtime's timer, or a
    /// thread that sleeps, calls it for each part of a span of time.
    ///
    /// Who is first is fixed by the order in which they came, multiplied by the
    /// golden ratio: however many have come, their places are spread evenly, and
    /// neighbours, which may be one client's, are far apart.
    pub fn finish_part(&self, part: u32, parts: u32) {
        let told = (u64::from(part) * PLACES).checked_div(parts.into()).unwrap_or(PLACES);
        // Who comes from now on has the place 0, and must find it told.
        let told = told.max(1);
        let before = self.0.told.fetch_max(told, Ordering::SeqCst);
        if before < told {
            self.0.wake((Event::Told(before), 0)..(Event::Told(told), 0));
        }
    }

    /// Cuts every connection, those to come included, and so ends every drain
    /// now: what a second stop should do.
    pub fn hurry(&self) {
        self.0.cutting.store(true, Ordering::SeqCst);
        let before = self.0.told.fetch_max(PLACES, Ordering::SeqCst);
        self.0.wake((Event::Told(before), 0)..(Event::Idle, 0));
    }

    /// Resolves when nothing is in flight. It tells nobody to finish.
    pub async fn finished(&self) {
        self.0.wait(Event::Idle).await;
    }

    /// Resolves when connections are cut: at the deadline of a drain, or on
    /// [`hurry`](Self::hurry).
    pub async fn hurried(&self) {
        self.0.wait(Event::Cut).await;
    }

    /// Tells every connection to finish and blocks this thread until all have,
    /// but not for longer than `most`; what is left then, or when somebody
    /// hurries, is cut. For programs without a runtime: connections look at
    /// [`Connection::is_finishing`] and [`Connection::is_cut`].
    pub fn drain_blocking(&self, most: Duration) -> Drained {
        let before = self.begin();
        self.finish();
        if !self.0.block(most, Event::Cut) {
            self.hurry();
            self.0.block(CUT_GRACE, Event::Idle);
        }
        self.since(before)
    }

    /// A drain begins: whoever comes from now on is told to finish at once. How
    /// many had been served before.
    pub(crate) fn begin(&self) -> u64 {
        let before = self.served();
        self.finish_part(0, 1);
        before
    }

    /// What became of the connections since then, and of those that were cut
    /// before it: who hurries may do so before the drain has begun. Those that
    /// are still in flight although everything was cut are counted as cut.
    pub(crate) fn since(&self, before: u64) -> Drained {
        let served = self.served();
        let cut = match self.0.cutting.load(Ordering::SeqCst) {
            true => self.0.entered.load(Ordering::SeqCst) - served,
            false => 0,
        };
        Drained { served: served - before, cut: usize::try_from(cut).unwrap_or(usize::MAX) }
    }
}

impl Connection {
    /// Resolves when this connection should finish what it does and close; at
    /// once, if that is so already.
    ///
    /// Cancel safe. In a loop, pin it outside and poll it by reference: what is
    /// created waits in a list under a lock, and polling it again does not.
    pub async fn finishing(&self) {
        self.shared.wait(Event::Told(self.place)).await;
    }

    /// Whether this connection should finish what it does and close.
    pub fn is_finishing(&self) -> bool {
        self.shared.holds(Event::Told(self.place))
    }

    /// Resolves when this connection should be dropped as it is: the deadline
    /// has passed, or somebody hurries. Cancel safe.
    pub async fn cut(&self) {
        self.shared.wait(Event::Cut).await;
    }

    /// Whether this connection should be dropped as it is.
    pub fn is_cut(&self) -> bool {
        self.shared.holds(Event::Cut)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let shared = &self.shared;
        let left = if self.is_cut() { &shared.cut } else { &shared.served };
        left.fetch_add(1, Ordering::SeqCst);
        if shared.watchers.load(Ordering::SeqCst) > 0 && shared.holds(Event::Idle) {
            shared.wake((Event::Idle, 0)..);
        }
    }
}

impl Drained {
    /// Whether nothing was cut.
    pub fn is_clean(&self) -> bool {
        self.cut == 0
    }
}

impl Shared {
    /// Who left is read first, so that it cannot be more than those who came,
    /// and 0 is never said while one is in flight.
    fn in_flight(&self) -> u64 {
        let served = self.served.load(Ordering::SeqCst);
        let cut = self.cut.load(Ordering::SeqCst);
        self.entered.load(Ordering::SeqCst) - served - cut
    }

    fn holds(&self, event: Event) -> bool {
        match event {
            Event::Told(place) => place < self.told.load(Ordering::SeqCst),
            Event::Cut => self.cutting.load(Ordering::SeqCst),
            Event::Idle => self.in_flight() == 0,
        }
    }

    fn wait(&self, event: Event) -> Waiting<'_> {
        Waiting { shared: self, event, entry: None }
    }

    /// Blocks until nothing is in flight, or `or` holds, or `most` has passed.
    /// Says whether nothing is in flight.
    fn block(&self, most: Duration, or: Event) -> bool {
        self.watchers.fetch_add(1, Ordering::SeqCst);
        let waits = |_: &mut WaitingList| !self.holds(Event::Idle) && !self.holds(or);
        let (list, _) = self
            .changed
            .wait_timeout_while(self.list(), most, waits)
            .unwrap_or_else(PoisonError::into_inner);
        drop(list);
        self.watchers.fetch_sub(1, Ordering::SeqCst);
        self.holds(Event::Idle)
    }

    /// Wakes those who wait for these events. They stay in the list until they
    /// leave it themselves. Nobody is missed: who waits looks once more when
    /// its waker is in the list, and what it waits for is so before this is called.
    fn wake(&self, events: impl RangeBounds<(Event, u64)>) {
        let list = self.list();
        let woken: Vec<_> = list.wakers.range(events).map(|(_, waker)| waker.clone()).collect();
        drop(list);
        woken.into_iter().for_each(Waker::wake);
        self.changed.notify_all();
    }

    fn list(&self) -> MutexGuard<'_, WaitingList> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The golden ratio, less one, as a fraction of 2^64, times a number of order:
/// the most even sequence there is. The upper half is the place.
fn place(serial: u64) -> u64 {
    serial.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32
}

/// Somebody waits for an event. In the list from the first time that it had to
/// wait until it is dropped.
struct Waiting<'a> {
    shared: &'a Shared,
    event: Event,
    entry: Option<(u64, Waker)>,
}

impl Waiting<'_> {
    /// Puts the waker into the list, in the place of an older one, which is
    /// dropped without the lock: it may be the last of a task, whose connection
    /// is dropped with it and may want the lock.
    fn enlist(&mut self, waker: &Waker) {
        if self.entry.is_none() && self.event == Event::Idle {
            self.shared.watchers.fetch_add(1, Ordering::SeqCst);
        }
        let listed = waker.clone();
        let mut list = self.shared.list();
        let id = self.entry.as_ref().map_or(list.next, |(id, _)| *id);
        list.next = list.next.max(id + 1);
        let old = list.wakers.insert((self.event, id), listed);
        drop(list);
        drop(old);
        self.entry = Some((id, waker.clone()));
    }
}

impl Future for Waiting<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let enlisted = self.entry.as_ref().is_some_and(|(_, waker)| waker.will_wake(cx.waker()));
        if !enlisted && !self.shared.holds(self.event) {
            self.enlist(cx.waker());
        }
        // Looked at after the waker is in the list: a change in between is not missed.
        if self.shared.holds(self.event) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some((id, _)) = self.entry else { return };
        let waker = self.shared.list().wakers.remove(&(self.event, id));
        drop(waker);
        if self.event == Event::Idle {
            self.shared.watchers.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl fmt::Display for Drained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.served, self.cut) {
            (0, 0) => write!(f, "no connections in flight"),
            (1, 0) => write!(f, "the one connection finished"),
            (served, 0) => write!(f, "all {served} connections finished"),
            (served, cut) => {
                let all = u64::try_from(cut).unwrap_or(u64::MAX).saturating_add(served);
                write!(f, "{cut} of {all} connections cut")
            }
        }
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections")
            .field("in_flight", &self.in_flight())
            .field("served", &self.served())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("is_finishing", &self.is_finishing())
            .field("is_cut", &self.is_cut())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::task::Wake;
    use std::thread;

    use super::*;

    /// Long enough for anything but a wakeup that was lost.
    const LONG: Duration = Duration::from_secs(20);
    const ROUNDS: u32 = 1_000;

    struct Signal(Sender<()>);

    impl Wake for Signal {
        fn wake(self: Arc<Self>) {
            // Nobody listens any more once the future is done.
            let _ = self.0.send(());
        }
    }

    fn signal() -> (Waker, Receiver<()>) {
        let (sender, receiver) = channel();
        (Waker::from(Arc::new(Signal(sender))), receiver)
    }

    /// Runs a future that has to be woken each time it waits.
    fn run(future: impl Future<Output = ()>) {
        let (waker, woken) = signal();
        let mut future = pin!(future);
        while future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            woken.recv_timeout(LONG).expect("a wakeup was lost");
        }
    }

    fn is_ready(future: impl Future<Output = ()>) -> bool {
        pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    type Side = Box<dyn FnOnce() + Send>;

    /// Runs both sides against each other, many times over, each time at
    /// another distance, so that whatever window there is gets hit.
    fn race(round: impl Fn() -> (Side, Side)) {
        let (work, works) = channel::<Side>();
        let (done, dones) = channel();
        thread::scope(|scope| {
            scope.spawn(move || {
                for work in works {
                    work();
                    done.send(()).unwrap();
                }
            });
            for number in 0..ROUNDS {
                let (ours, theirs) = round();
                let meet = Arc::new(AtomicUsize::new(0));
                let met = Arc::clone(&meet);
                work.send(Box::new(move || {
                    come(&met);
                    (number % 128..128).for_each(|_| std::hint::spin_loop());
                    theirs();
                }))
                .unwrap();
                come(&meet);
                (0..number % 128).for_each(|_| std::hint::spin_loop());
                ours();
                dones.recv_timeout(2 * LONG).expect("the other side ended");
            }
            drop(work);
        });
    }

    /// Waits for the other side. It may have no processor: then it gets ours.
    fn come(meet: &AtomicUsize) {
        meet.fetch_add(1, Ordering::SeqCst);
        while meet.load(Ordering::SeqCst) < 2 {
            for _ in 0..10_000 {
                if meet.load(Ordering::SeqCst) == 2 {
                    return;
                }
            }
            thread::yield_now();
        }
    }

    fn waiting(connections: &Connections) -> usize {
        connections.0.list().wakers.len()
    }

    #[test]
    fn a_drain_waits_for_a_connection_that_finishes() {
        let connections = Connections::default();
        let (first, second) = (connections.enter(), connections.enter());
        thread::scope(|scope| {
            scope.spawn(move || {
                run(first.finishing());
                run(second.finishing());
            });
            let drained = connections.drain_blocking(LONG);
            assert_eq!(drained, Drained { served: 2, cut: 0 });
        });
        assert_eq!((connections.in_flight(), connections.served()), (0, 2));
    }

    #[test]
    fn a_drain_cuts_what_outlasts_the_deadline_and_says_how_many() {
        let connections = Connections::default();
        drop(connections.enter());
        let (obeys, stays) = (connections.enter(), connections.enter());
        thread::scope(|scope| {
            scope.spawn(move || run(obeys.cut()));
            let drained = connections.drain_blocking(Duration::ZERO);
            assert_eq!(drained, Drained { served: 0, cut: 2 });
            assert!(stays.is_cut() && stays.is_finishing());
        });
        drop(stays);
        assert_eq!((connections.in_flight(), connections.served()), (0, 1));
    }

    #[test]
    fn a_drain_can_be_hurried_and_its_deadline_may_be_never() {
        let connections = Connections::default();
        let connection = connections.enter();
        let (done, drained) = channel();
        let all = connections.clone();
        thread::spawn(move || done.send(all.drain_blocking(Duration::MAX)));
        run(connection.finishing());
        assert!(!connection.is_cut());
        connections.hurry();
        run(connection.cut());
        assert_eq!(drained.recv_timeout(LONG), Ok(Drained { served: 0, cut: 1 }));
        drop(connection);
        // Nothing is left, and what was cut is not forgotten.
        let again = connections.drain_blocking(Duration::MAX);
        assert_eq!(again, Drained { served: 0, cut: 1 });
    }

    #[test]
    fn who_comes_after_the_signal_is_told_at_once() {
        let connections = Connections::default();
        let early: Vec<_> = [(); 4].map(|()| connections.enter()).into();
        connections.finish_part(0, 10);
        for _ in 0..100 {
            assert!(connections.enter().is_finishing());
        }
        assert!(!early.iter().all(Connection::is_finishing), "the others have their time");
        assert!(!connections.enter().is_cut());
        connections.hurry();
        assert!(connections.enter().is_cut());
    }

    #[test]
    fn each_part_of_a_span_tells_its_share() {
        let connections = Connections::default();
        let all: Vec<_> = (0..1000).map(|_| connections.enter()).collect();
        for part in 0..=50_u32 {
            connections.finish_part(part, 50);
            let told = all.iter().filter(|connection| connection.is_finishing()).count();
            let share = usize::try_from(part).unwrap() * 20;
            assert!(told.abs_diff(share) <= 5, "{told} were told of {share}");
        }
        assert!(all.iter().all(Connection::is_finishing));
        connections.finish_part(1, 50);
        assert!(all.iter().all(Connection::is_finishing), "nobody is told the contrary");
    }

    #[test]
    fn only_those_whose_turn_it_is_are_woken_and_once() {
        let connections = Connections::default();
        let all: Vec<_> = (0..100).map(|_| connections.enter()).collect();
        let (waker, woken) = signal();
        let mut futures: Vec<_> = all.iter().map(|one| Box::pin(one.finishing())).collect();
        let mut poll = || {
            let mut cx = Context::from_waker(&waker);
            futures.retain_mut(|future| future.as_mut().poll(&mut cx).is_pending());
            100 - futures.len()
        };
        assert_eq!(poll(), 0);
        let mut wakeups = 0;
        for part in 0..=10 {
            connections.finish_part(part, 10);
            wakeups += woken.try_iter().count();
            assert_eq!(wakeups, poll(), "part {part}");
        }
        assert_eq!(wakeups, 100);
    }

    #[test]
    fn a_hundred_thousand_on_several_threads_leave_nobody() {
        let connections = Connections::default();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..25_000 {
                        let connection = connections.enter();
                        assert!(connections.in_flight() >= 1);
                        drop(connection);
                    }
                });
            }
        });
        assert_eq!((connections.in_flight(), connections.served()), (0, 100_000));
    }

    #[test]
    fn dropped_futures_leave_no_waker_behind() {
        let connections = Connections::default();
        let connection = connections.enter();
        for _ in 0..100 {
            assert!(!is_ready(connection.finishing()));
            assert!(!is_ready(connection.cut()));
            assert!(!is_ready(connections.finished()));
        }
        assert_eq!(waiting(&connections), 0);
        assert_eq!(connections.0.watchers.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn polled_again_a_future_waits_in_one_place_for_the_last_task_that_polled_it() {
        let connections = Connections::default();
        let connection = connections.enter();
        let ((first, first_woken), (second, second_woken)) = (signal(), signal());
        let mut future = pin!(connection.finishing());
        for waker in [&first, &first, &second, &second] {
            assert!(future.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
            assert_eq!(waiting(&connections), 1);
        }
        connections.finish();
        assert_eq!((first_woken.try_iter().count(), second_woken.try_iter().count()), (0, 1));
    }

    /// The signal comes when the waker is about to be listed, and so finds
    /// nobody to wake. That the waker has been cloned shows that it is so far.
    #[test]
    fn a_signal_between_the_look_and_the_list_is_not_lost() {
        let connections = Connections::default();
        let connection = connections.enter();
        let (sender, _receiver) = channel();
        let signal = Arc::new(Signal(sender));
        let waker = Waker::from(Arc::clone(&signal));
        let references = Arc::strong_count(&signal);
        thread::scope(|scope| {
            let list = connections.0.list();
            let poll = scope.spawn(|| {
                pin!(connection.finishing()).poll(&mut Context::from_waker(&waker)).is_ready()
            });
            while Arc::strong_count(&signal) == references {
                assert!(!poll.is_finished(), "the waker is cloned before the list is locked");
                thread::yield_now();
            }
            connections.0.told.store(PLACES, Ordering::SeqCst);
            drop(list);
            assert!(poll.join().unwrap());
        });
    }

    #[test]
    fn a_signal_that_meets_the_one_who_waits_is_not_lost() {
        race(|| {
            let connections = Connections::default();
            let connection = connections.enter();
            (Box::new(move || connections.finish()), Box::new(move || run(connection.finishing())))
        });
        race(|| {
            let connections = Connections::default();
            let connection = connections.enter();
            (Box::new(move || connections.hurry()), Box::new(move || run(connection.cut())))
        });
        race(|| {
            let connections = Connections::default();
            let connection = connections.enter();
            (Box::new(move || connections.hurry()), Box::new(move || run(connection.finishing())))
        });
    }

    #[test]
    fn the_last_to_leave_wakes_who_waits_for_it() {
        race(|| {
            let connections = Connections::default();
            let connection = connections.enter();
            (Box::new(|| drop(connection)), Box::new(move || run(connections.finished())))
        });
        race(|| {
            let connections = Connections::default();
            let connection = connections.enter();
            // Ends after the race has given up on it, so that it can be joined.
            let drain = move || assert!(connections.drain_blocking(3 * LONG).is_clean());
            (Box::new(|| drop(connection)), Box::new(drain))
        });
    }

    #[test]
    fn who_waits_for_the_last_is_not_put_off_by_one_that_comes_meanwhile() {
        let connections = Connections::default();
        let (waker, woken) = signal();
        let mut cx = Context::from_waker(&waker);
        let first = connections.enter();
        let mut finished = pin!(connections.finished());
        assert!(finished.as_mut().poll(&mut cx).is_pending());
        drop(first);
        let second = connections.enter();
        assert_eq!(woken.try_iter().count(), 1);
        assert!(finished.as_mut().poll(&mut cx).is_pending());
        drop(second);
        assert_eq!(woken.try_iter().count(), 1);
        assert!(finished.as_mut().poll(&mut cx).is_ready());
    }

    #[test]
    fn a_result_says_how_many_of_how_many() {
        let said = |served, cut| Drained { served, cut }.to_string();
        assert_eq!(said(0, 0), "no connections in flight");
        assert_eq!(said(1, 0), "the one connection finished");
        assert_eq!(said(12, 0), "all 12 connections finished");
        assert_eq!(said(9, 3), "3 of 12 connections cut");
    }
}
