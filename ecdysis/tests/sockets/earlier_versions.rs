//! Successors that run the published crate, played by a shell: all that matters of
//! them is what they write, and what they leave open.

use crate::server::Server;

/// Its helper, which it has started before it was ready, has the ready pipe, too.
const WITH_A_HELPER: &str = "sleep 1000 & printf OK >&4; exec 3<&- 4>&-; exec sleep 1000";

#[test]
fn one_that_is_ready_is_believed_though_a_helper_holds_its_pipe() {
    let mut server = Server::with(&["tcp:127.0.0.1:0"]);
    server.interpose(WITH_A_HELPER);
    server.ask_to_upgrade();
    let report = server.outcome();
    assert!(report.contains(" completed"), "{report}");
    server.log_until("ends generation=0");
}
