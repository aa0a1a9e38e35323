//! Successors on Tokio whose main function comes as far as *ready*, and whose runtime
//! has no thread left that would accept anybody.

use ecdysis::control::{Command, Outcome, request};

use crate::clients::{Looping, greet};
use crate::service::{PATIENCE, Start};

#[test]
fn one_that_would_accept_nobody_is_never_ready() {
    let service = Start::new("tokio").with("READY_DEADLINE", "500").serve();
    let clients = Looping::begin(service.address());
    clients.wait_for(20, 0);
    service.replace_with("DEAF=yes exec $real \"$@\"");
    let answer = request(&service.path("control"), Command::Upgrade, PATIENCE).unwrap();
    // It has taken itself for ready.
    service.log_until("generation 1 serves");
    let upgrade = answer.upgrade.unwrap();
    assert!(!answer.ok);
    assert_eq!(upgrade.outcome, Outcome::Failed, "{upgrade:?}");
    assert!(upgrade.error.unwrap().contains("not ready within 500ms"));
    clients.wait_for(40, 0);
    let tally = clients.end();
    assert!(tally.is_clean(), "{tally:?}");

    // The next one has its threads.
    service.restore();
    let answer = request(&service.path("control"), Command::Upgrade, PATIENCE).unwrap();
    assert!(answer.ok, "{answer:?}");
    assert_eq!(greet(service.address()).unwrap().generation, 1);
}
