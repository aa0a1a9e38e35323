//! Connections that are kept for a while.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{sleep, sleep_until};

use super::classify::{Ending, Progress};
use super::client::{Client, Context, Population, Verdict};
use super::pacer::Due;
use crate::chance;
use crate::clock::Stamp;
use crate::event::{Fate, Harm, OpKind, Operation};

/// After harm a slot holds its breath, lest a server that is down be hammered
/// as fast as the machine can.
const BREATH: Duration = Duration::from_millis(20);

/// A request, handed to a slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    /// What the schedule wanted.
    pub(super) due: Due,
    /// When it was handed over. That the slot may be busy then is the server's
    /// doing: it counts as latency and not as lateness.
    pub(super) dispatched: Stamp,
}

/// How a slot keeps its connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habit {
    /// The first is opened then.
    begin: Stamp,
    /// So long is the first kept.
    first: Duration,
    /// So long are the others.
    lifetime: Duration,
    /// When the load has ended, a request of this size is made, to see whether the
    /// connection still serves.
    farewell: Option<usize>,
    /// So long after the end: all at once would be a storm of our own making.
    patience: Duration,
}

/// The longest that a farewell is put off.
const MOST_PATIENCE: Duration = Duration::from_secs(5);

/// Longer than any run.
const FOREVER: Duration = Duration::from_hours(10_000);

impl Habit {
    /// Each connection is kept for `lifetime`. By `chance` the first is cut short,
    /// so that those of all slots do not end together.
    pub(super) fn renewing(now: Stamp, lifetime: Duration, chance: &mut StdRng) -> Self {
        let share: f64 = chance.random();
        Self {
            begin: now,
            first: lifetime.mul_f64(share),
            lifetime,
            farewell: None,
            patience: Duration::ZERO,
        }
    }

    /// One connection is opened so long `after` now, held in silence, and asked once,
    /// as long after the end of the load.
    pub(super) fn holding(now: Stamp, after: Duration, farewell: usize) -> Self {
        Self {
            begin: now.after(after),
            first: FOREVER,
            lifetime: FOREVER,
            farewell: Some(farewell),
            patience: after.min(MOST_PATIENCE),
        }
    }
}

/// One place for one connection at a time.
#[derive(Debug)]
pub(super) struct Slot {
    context: Arc<Context>,
    population: Arc<Population>,
    queue: UnboundedReceiver<Ask>,
    habit: Habit,
}

/// What ends the waiting of a kept connection.
#[derive(Debug)]
enum Event {
    Cancelled,
    Gone(Ending),
    Enough,
    /// `None`: nobody will ask any more.
    Ask(Option<Ask>),
}

/// The source of chance that [`Habit::renewing`] draws from.
pub(super) fn chance(context: &Context, population: &Population) -> StdRng {
    chance::stream(context.seed, &population.load.name, "lifetime")
}

impl Slot {
    /// A slot fed by `queue`.
    pub(super) fn new(
        context: Arc<Context>,
        population: Arc<Population>,
        queue: UnboundedReceiver<Ask>,
        habit: Habit,
    ) -> Self {
        Self { context, population, queue, habit }
    }

    /// Keeps one connection after another until no more requests can come.
    pub(super) async fn run(mut self) {
        let (context, population) = (Arc::clone(&self.context), Arc::clone(&self.population));
        self.await_begin().await;
        let mut lifetime = self.habit.first;
        while !(self.queue.is_closed() && self.queue.is_empty()) {
            let mut client = Client::new(&context, &population);
            let mut well = false;
            match self.open(&mut client).await {
                Ok(()) => {
                    well = self.keep(&mut client, context.clock.now().after(lifetime)).await;
                    lifetime = self.habit.lifetime;
                }
                Err(verdict) => self.fail_queued(client.row.id, verdict),
            }
            client.close();
            if !well {
                sleep(BREATH).await;
            }
        }
    }

    /// Waits for the moment to begin. If the load ends before, there is none. A slot
    /// that is fed begins at once, so that none of its requests is lost here.
    async fn await_begin(&mut self) {
        if self.habit.begin <= self.context.clock.now() {
            return;
        }
        let begin = sleep_until(self.context.clock.instant(self.habit.begin).into());
        tokio::select! {
            biased;
            () = begin => {}
            _ = self.queue.recv() => {}
        }
    }

    /// Opens the connection. One that was opened late is a harm, and kept.
    async fn open(&self, client: &mut Client<'_>) -> Result<(), Verdict> {
        let (context, load) = (&self.context, &self.population.load);
        let id = context.ledger.intend(self.population.index);
        let begun = context.clock.now();
        let ending = context.bound(begun.after(load.timeout), client.open(begun)).await;
        let verdict = client.judge(ending, load, true);
        self.enter(id, OpKind::Open, client.row.id, (begun, begun), verdict);
        if ending == Ending::Complete { Ok(()) } else { Err(verdict) }
    }

    /// Keeps the connection until it is old or broken; says whether it ended well.
    async fn keep(&mut self, client: &mut Client<'_>, until: Stamp) -> bool {
        let context = Arc::clone(&self.context);
        let old = sleep_until(context.clock.instant(until).into());
        tokio::pin!(old);
        let (mut asking, mut asked) = (true, false);
        loop {
            let event = tokio::select! {
                biased;
                () = context.given_up() => Event::Cancelled,
                ending = client.idle() => Event::Gone(ending),
                () = &mut old => Event::Enough,
                ask = self.queue.recv(), if asking => Event::Ask(ask),
            };
            let ended = match event {
                Event::Ask(Some(ask)) => {
                    match self.request(client, ask).await {
                        Fate::Ok => asked = true,
                        // A server that has answered and then closed is not down.
                        Fate::Harmed(Harm::ResetIdle | Harm::Epipe) => return asked,
                        Fate::Harmed(_) | Fate::LimitHit | Fate::Cancelled => return false,
                    }
                    if !client.is_spent() {
                        continue;
                    }
                    None
                }
                Event::Ask(None) => {
                    asking = false;
                    let until = context.clock.now().after(self.habit.patience);
                    old.as_mut().reset(context.clock.instant(until).into());
                    continue;
                }
                Event::Enough if self.say_farewell(client).await != Fate::Ok => return false,
                Event::Enough => None,
                Event::Gone(ending) => Some(ending),
                Event::Cancelled => Some(Ending::Cancelled),
            };
            let closed = asked && ended == Some(Ending::Eof);
            return self.close(client, ended).await == Fate::Ok || closed;
        }
    }

    /// One request; `Ok` if the connection can serve another. One whose time was up
    /// before its turn came has not touched the connection.
    async fn request(&self, client: &mut Client<'_>, ask: Ask) -> Fate {
        let (context, load, due) = (&self.context, &self.population.load, ask.due);
        let deadline = ask.dispatched.after(load.timeout);
        let expired = context.clock.now() >= deadline;
        let ending = if expired {
            Ending::Deadline
        } else {
            context.bound(deadline, client.request(due.id, due.payload)).await
        };
        let verdict = client.judge(ending, load, false);
        let times = (due.intended, ask.dispatched);
        self.enter(due.id, OpKind::Request, client.row.id, times, verdict);
        if expired { Fate::Ok } else { verdict.fate }
    }

    /// The last request of a connection that was held, if there is to be one.
    async fn say_farewell(&self, client: &mut Client<'_>) -> Fate {
        let Some(payload) = self.habit.farewell else { return Fate::Ok };
        let id = self.context.ledger.intend(self.population.index);
        let dispatched = self.context.clock.now();
        let population = self.population.index;
        let due = Due { id, population, intended: dispatched, payload, half_close: false };
        self.request(client, Ask { due, dispatched }).await
    }

    /// Ends the connection, unless it has been ended by something else.
    async fn close(&self, client: &mut Client<'_>, ended: Option<Ending>) -> Fate {
        let (context, load) = (&self.context, &self.population.load);
        let id = context.ledger.intend(self.population.index);
        let begun = context.clock.now();
        let ending = match ended {
            Some(ending) => ending,
            None => {
                let step = client.finish(Progress::Closing);
                context.bound(begun.after(load.timeout), step).await
            }
        };
        let verdict = client.judge(ending, load, false);
        self.enter(id, OpKind::Close, client.row.id, (begun, begun), verdict);
        verdict.fate
    }

    /// Requests that waited for a connection which could not be opened share
    /// its fate: each was a client that wanted it.
    fn fail_queued(&mut self, connection: u64, verdict: Verdict) {
        while let Ok(ask) = self.queue.try_recv() {
            let times = (ask.due.intended, ask.dispatched);
            self.enter(ask.due.id, OpKind::Request, connection, times, verdict);
        }
    }

    fn enter(
        &self,
        id: u64,
        kind: OpKind,
        connection: u64,
        (intended, dispatched): (Stamp, Stamp),
        verdict: Verdict,
    ) {
        let finished = self.context.clock.now();
        let Verdict { fate, errno } = verdict;
        let population = self.population.index;
        self.context.ledger.operation(Operation {
            id,
            population,
            kind,
            connection,
            intended,
            dispatched,
            finished,
            fate,
            errno,
        });
    }
}
