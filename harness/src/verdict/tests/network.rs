//! What a network that loses packets excuses.

use crate::event::{Fate, Harm, LOST_HANDSHAKES, LOST_OTHERS, Recording};
use crate::scenario::Plan;

use super::{Outcome, Status, count, spoiled, stops};

#[test]
fn a_network_that_loses_packets_has_no_more_to_answer_for_than_it_has_lost() {
    let lossy = |handshakes: u64, others: u64| {
        move |plan: &mut Plan, run: &mut Recording| {
            plan.network.loss = Some(0.02);
            run.connections[5].syn_retransmits = Some(2);
            run.operations[6].fate = Fate::Harmed(Harm::StallSyn);
            run.connections[6].syn_retransmits = Some(1);
            count(run, "TcpExt.TCPSynRetrans", 3);
            count(run, LOST_HANDSHAKES, handshakes);
            count(run, LOST_OTHERS, others);
        }
    };
    let verdict = spoiled(lossy(3, 9));
    assert_eq!(verdict.outcome, Outcome::Pass, "{:?}", verdict.checks);
    assert_eq!(verdict.harm[&Harm::StallSyn].len(), 2);
    stops("harm.stall_syn", Status::Fail, lossy(2, 9));
    stops("network.loss", Status::Inconclusive, lossy(3, 0));
    stops("kernel.unexplained", Status::Fail, |plan, run| {
        lossy(3, 1)(plan, run);
        count(run, "Tcp.InErrs", 5);
    });
    // Whoever waits for another reason still counts.
    stops("harm.refused", Status::Fail, |plan, run| {
        lossy(3, 9)(plan, run);
        run.operations[7].fate = Fate::Harmed(Harm::Refused);
    });
}
