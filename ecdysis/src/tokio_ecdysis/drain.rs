//! The end of a process whose connections are tasks on Tokio.

use std::convert::Infallible;
use std::future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::drain::{CUT_GRACE, Connections, Drained};

/// Parts of a span in which connections are told to finish. A thousand keep
/// each part small, and cost nothing that would show.
const MOST_PARTS: u32 = 1000;

/// How a process drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainOptions {
    /// How long connections have, from the beginning of the drain, until what
    /// is left of them is cut. 30 s, if not set: longer than most requests, and
    /// less than the 90 s after which systemd kills a service (`TimeoutStopSec=`)
    /// that does not ask for more time, which nobody could report any more.
    /// Kubernetes kills after 30 s: leave yourself some of that. [`Duration::MAX`] is
    /// never.
    pub deadline: Duration,
    /// Over how long connections are told to finish, so that clients that come
    /// back do not do so all at once; at most half of the deadline, so that the
    /// last to be told have time too. Zero, if not set, tells all at once: that
    /// is the shortest drain, and only a service of many long connections needs
    /// another.
    pub spread: Duration,
}

impl Default for DrainOptions {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(30), spread: Duration::ZERO }
    }
}

impl DrainOptions {
    /// Sets [`deadline`](Self::deadline).
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Sets [`spread`](Self::spread).
    #[must_use]
    pub fn spread(self, spread: Duration) -> Self {
        Self { spread, ..self }
    }
}

/// Tells every connection to finish, and waits until all have. What is left at
/// the deadline, or when somebody calls [`Connections::hurry`], is cut, and has
/// 100 ms to let go.
///
/// Call it when nothing is accepted any more. Needs the runtime's timer. If it
/// is dropped before it ends, connections that were not told yet are told by
/// the next drain.
///
/// ```no_run
/// # use ecdysis::Connections;
/// # async fn example(
/// #     connections: Connections,
/// #     second_stop: impl Future<Output = ()> + Send + 'static,
/// # ) {
/// use ecdysis::tokio_ecdysis::{DrainOptions, drain};
/// let all = connections.clone();
/// tokio::spawn(async move {
///     second_stop.await;
///     all.hurry();
/// });
/// let drained = drain(&connections, &DrainOptions::default()).await;
/// log::info!("{drained}");
/// # }
/// ```
pub async fn drain(connections: &Connections, options: &DrainOptions) -> Drained {
    let before = connections.begin();
    let span = options.spread.min(options.deadline / 2);
    let finished = tokio::select! {
        biased;
        () = connections.finished() => true,
        () = connections.hurried() => false,
        () = sleep(options.deadline) => false,
        never = tell(connections, span) => match never {},
    };
    if !finished {
        connections.hurry();
        // Whoever is left then is counted as cut all the same.
        let _ = timeout(CUT_GRACE, connections.finished()).await;
    }
    connections.since(before)
}

/// Tells connections to finish, one part after the other, and waits for ever.
async fn tell(connections: &Connections, span: Duration) -> Infallible {
    let began = Instant::now();
    // The runtime's timer knows milliseconds, so no part is shorter.
    let parts = u32::try_from(span.as_millis()).unwrap_or(u32::MAX).clamp(1, MOST_PARTS);
    for part in 1..=parts {
        // Against the beginning, so that delays do not add up.
        let moment = span / parts * part;
        sleep(moment.saturating_sub(began.elapsed())).await;
        connections.finish_part(part, parts);
    }
    future::pending().await
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;
    use crate::drain::Connection;

    /// Connections that end `slowness` after they were told to, unless cut. Each
    /// gives the moment at which it was told.
    fn clients(connections: &Connections, slowness: &[Duration]) -> JoinSet<Option<Instant>> {
        let mut set = JoinSet::new();
        for &slowness in slowness {
            set.spawn(client(connections.enter(), slowness));
        }
        set
    }

    async fn client(connection: Connection, slowness: Duration) -> Option<Instant> {
        tokio::select! {
            biased;
            () = connection.cut() => None,
            told = async {
                connection.finishing().await;
                let told = Instant::now();
                sleep(slowness).await;
                told
            } => Some(told),
        }
    }

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_takes_as_long_as_its_connections_and_no_longer() {
        let connections = Connections::default();
        let clients = clients(&connections, &[secs(1), secs(7), secs(3)]);
        let began = Instant::now();
        let drained = drain(&connections, &DrainOptions::default()).await;
        assert_eq!(drained, Drained { served: 3, cut: 0 });
        assert_eq!(began.elapsed().as_secs(), 7);
        assert!(clients.join_all().await.iter().all(Option::is_some));
    }

    #[tokio::test(start_paused = true)]
    async fn what_outlasts_the_deadline_is_cut_and_counted() {
        let connections = Connections::default();
        let clients = clients(&connections, &[secs(1), secs(31), secs(1000)]);
        let began = Instant::now();
        let drained = drain(&connections, &DrainOptions::default()).await;
        assert_eq!(drained, Drained { served: 1, cut: 2 });
        assert_eq!(began.elapsed().as_secs(), 30);
        assert_eq!(connections.in_flight(), 0, "who was cut had the time to let go");
        assert_eq!(clients.join_all().await.iter().flatten().count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_never_lets_go_does_not_keep_the_process() {
        let connections = Connections::default();
        let _kept = connections.enter();
        let options = DrainOptions::default().deadline(secs(2));
        let drained = timeout(secs(3), drain(&connections, &options)).await;
        assert_eq!(drained, Ok(Drained { served: 0, cut: 1 }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_hurried_drain_ends_now() {
        let connections = Connections::default();
        let _clients = clients(&connections, &[secs(1), secs(1000)]);
        let _kept = connections.enter();
        let options = DrainOptions::default().deadline(Duration::MAX);
        let began = Instant::now();
        let hurry = async {
            sleep(secs(5)).await;
            connections.hurry();
        };
        let drain = timeout(secs(100), drain(&connections, &options));
        let (drained, ()) = tokio::join!(drain, hurry);
        assert_eq!(drained, Ok(Drained { served: 1, cut: 2 }));
        assert_eq!(began.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_spread_tells_them_one_after_the_other_and_all_by_its_end() {
        for (count, spread) in [(10, secs(20)), (200, millis(1500)), (7, millis(9))] {
            let connections = Connections::default();
            let clients = clients(&connections, &vec![Duration::ZERO; count]);
            let options = DrainOptions::default().deadline(secs(60)).spread(spread);
            let began = Instant::now();
            let drained = drain(&connections, &options).await;
            assert!(drained.is_clean(), "{drained}");
            let told = clients.join_all().await.into_iter().map(|told| told.unwrap() - began);
            let mut told: Vec<_> = told.collect();
            told.sort();
            let share = spread / u32::try_from(count).unwrap();
            for (at, k) in told.into_iter().zip(0..) {
                // A millisecond or two are the timer's.
                let off = at.abs_diff(share * k);
                assert!(off <= 2 * share + millis(2), "{k} of {count} at {at:?}");
                assert!(at <= spread + millis(2), "{k} of {count} at {at:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_to_be_told_have_half_of_the_deadline() {
        let connections = Connections::default();
        let clients = clients(&connections, &[secs(4); 50]);
        let options = DrainOptions::default().deadline(secs(10)).spread(secs(600));
        assert_eq!(drain(&connections, &options).await, Drained { served: 50, cut: 0 });
        drop(clients);
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_during_a_drain_is_told_at_once_and_waited_for() {
        let connections = Connections::default();
        let mut clients = clients(&connections, &[secs(5)]);
        let late = async {
            sleep(secs(1)).await;
            let began = Instant::now();
            clients.spawn(client(connections.enter(), secs(9)));
            began
        };
        let options = DrainOptions::default();
        let (drained, began) = tokio::join!(drain(&connections, &options), late);
        assert_eq!(drained, Drained { served: 2, cut: 0 });
        assert_eq!(began.elapsed().as_secs(), 9);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_in_flight_is_no_reason_to_wait() {
        let connections = Connections::default();
        let began = Instant::now();
        let options = DrainOptions::default().deadline(Duration::MAX).spread(Duration::MAX);
        assert_eq!(drain(&connections, &options).await, Drained { served: 0, cut: 0 });
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_that_was_dropped_can_be_begun_again() {
        let connections = Connections::default();
        let clients = clients(&connections, &[Duration::ZERO; 20]);
        let options = DrainOptions::default().deadline(secs(20)).spread(secs(10));
        assert!(timeout(secs(5), drain(&connections, &options)).await.is_err());
        let first = connections.served();
        assert!((5..15).contains(&first), "{first}");
        let drained = drain(&connections, &options).await;
        assert_eq!(drained, Drained { served: 20 - first, cut: 0 });
        drop(clients);
    }
}
