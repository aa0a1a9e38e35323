//! A whole connection for one request: a short one, or a long stream that is sent
//! and read at the client's pace.

use super::classify::Progress;
use super::client::{Client, Context, Population};
use super::pacer::Due;
use crate::event::{OpKind, Operation};
use crate::scenario::plan::{LoadKind, Pace};

/// Connects, is greeted, sends, reads the echo, finishes and reads the end.
pub(super) async fn run(context: &Context, population: &Population, due: Due) {
    let dispatched = context.clock.now();
    let load = &population.load;
    let mut client = Client::new(context, population);
    let connection = client.row.id;
    let ending = context
        .bound(dispatched.after(load.timeout), async {
            client.open(dispatched).await?;
            client.exchange(due.id, due.payload, pace(load.kind), due.half_close).await?;
            client.finish(Progress::Finishing).await
        })
        .await;
    let finished = context.clock.now();
    let verdict = client.judge(ending, load, true);
    client.close();
    context.ledger.operation(Operation {
        id: due.id,
        population: population.index,
        kind: OpKind::Churn,
        connection,
        intended: due.intended,
        dispatched,
        finished,
        fate: verdict.fate,
        errno: verdict.errno,
    });
}

fn pace(kind: LoadKind) -> Pace {
    match kind {
        LoadKind::Stream { pace, .. } => pace,
        LoadKind::Churn
        | LoadKind::KeepAlive { .. }
        | LoadKind::Idle { .. }
        | LoadKind::Udp { .. } => Pace::default(),
    }
}
