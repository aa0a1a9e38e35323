//! Servers that speak HTTP, and those that were there before the run.

use super::{spoiled, status};
use crate::event::{Fate, Harm, OpKind, Reset, Resets, Scope};
use crate::scenario::plan::{Attach, Http, Speak};
use crate::verdict::{Outcome, Status};

#[test]
fn of_a_server_that_is_not_ours_no_end_is_asked_for() {
    let verdict = spoiled(|plan, run| {
        plan.target.attach = Some(Attach { connect: ([127, 0, 0, 1], 80).into(), pid: None });
        run.kernel.scope = Scope::Host;
        let last = run.generations.len() - 1;
        (run.generations[last].gone, run.generations[last].exit) = (None, None);
    });
    assert_eq!(verdict.outcome, Outcome::Pass, "{:?}", verdict.checks);
    for id in ["law.L9.processes", "processes.exits", "kernel.unexplained"] {
        assert_eq!(status(&verdict, id), Status::NotChecked, "{id}");
    }
}

#[test]
fn a_segment_that_was_sent_again_to_a_client_that_is_gone_explains_a_reset() {
    let http = Http { path: "/".into(), host: "h".into(), status: None, body_bytes: None };
    let resets = |speak: &Speak, retransmitted: u64, sent_by: Option<&str>| {
        spoiled(|plan, run| {
            plan.loads[0].speak = speak.clone();
            *run.kernel.after.get_mut("Tcp.OutRsts").unwrap() += 2;
            run.kernel.after.insert("Tcp.RetransSegs".to_owned(), retransmitted);
            run.connections[7].local = Some("127.0.1.5:4711".parse().unwrap());
            let reset = |source: &str| Reset {
                at: run.connections[7].closed,
                pid: 1,
                command: "ksoftirqd/0".to_owned(),
                source: source.parse().unwrap(),
                destination: "127.0.0.1:80".parse().unwrap(),
                reason: Some("NO_SOCKET".to_owned()),
            };
            run.kernel.resets = match sent_by {
                None => Resets::default(),
                Some(source) => Resets::Traced {
                    resets: vec![reset(source), reset(source)],
                    lost: Some(0),
                    reasons: true,
                    pids: true,
                },
            };
        })
    };
    let http = Speak::Http(http);
    for sent_by in [None, Some("127.0.1.5:4711")] {
        assert_eq!(resets(&http, 3, sent_by).outcome, Outcome::Pass, "{sent_by:?}");
    }
    // Not more than there are, not where clients close first, and not the server's own.
    for verdict in [
        resets(&http, 1, None),
        resets(&Speak::Echo, 3, None),
        resets(&http, 3, Some("127.0.0.1:80")),
    ] {
        assert_eq!(status(&verdict, "law.L6"), Status::Fail);
        assert_eq!(status(&verdict, "kernel.unexplained"), Status::Fail);
    }
}

#[test]
fn a_server_may_close_idle_connections_where_the_plan_says_so() {
    let closes = |kind: OpKind, harm: Harm, allowed: bool| {
        spoiled(move |plan, run| {
            plan.target.closes_idle = allowed;
            let operation = &mut run.operations[7];
            (operation.kind, operation.fate) = (kind, Fate::Harmed(harm));
        })
    };
    for (kind, harm) in [
        (OpKind::Close, Harm::EofIdle),
        (OpKind::Request, Harm::ResetIdle),
        (OpKind::Request, Harm::Epipe),
    ] {
        let verdict = closes(kind, harm, true);
        assert_eq!(verdict.outcome, Outcome::Pass, "{harm}: {:?}", verdict.checks);
        assert_eq!(verdict.harm[&harm], [7]);
        assert_eq!(closes(kind, harm, false).outcome, Outcome::Fail);
    }
    // A connection that nobody had served on was not idle.
    for (kind, harm) in [
        (OpKind::Churn, Harm::Epipe),
        (OpKind::Open, Harm::ResetQueue),
        (OpKind::Request, Harm::ResetRequest),
        (OpKind::Request, Harm::EofEarly),
    ] {
        assert_eq!(closes(kind, harm, true).outcome, Outcome::Fail, "{harm}");
    }
}
