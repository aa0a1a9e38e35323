//! What a long chain of upgrades leaves behind: nothing.

use std::fs;

use crate::server::{Server, descriptors, is_connection};

/// What a generation holds, connections not counted. The inode numbers of pipes and sockets differ;
/// what kind of thing each descriptor is must not.
#[derive(Debug, PartialEq)]
struct Held {
    descriptors: Vec<(u32, String)>,
    environ_bytes: usize,
}

fn held(pid: u32) -> Held {
    let kind = |what: std::path::PathBuf| {
        what.to_string_lossy().split(":[").next().unwrap_or_default().to_owned()
    };
    let open = descriptors(pid).into_iter().filter(|(_, what)| !is_connection(pid, what));
    Held {
        descriptors: open.map(|(number, what)| (number, kind(what))).collect(),
        environ_bytes: fs::read(format!("/proc/{pid}/environ")).unwrap().len(),
    }
}

fn rss_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn after_two_hundred_upgrades_the_last_holds_what_the_first_did() {
    let mut server = Server::start(&["--probation", "0s"]);
    let mut pid = server.first_pid();
    let mut first = None;
    for generation in 1..=200 {
        drop(server.upgrade(pid, generation));
        server.log_until(&format!("the next generation serves generation={}", generation - 1));
        pid = server.greet().pid;
        server.log_until(&format!("drained generation={}", generation - 1));
        server.log_until(&format!("settled generation={generation}"));
        if generation == 1 {
            first = Some((held(pid), rss_kib(pid)));
        }
    }
    let (first, first_rss) = first.unwrap();
    assert_eq!(held(pid), first);
    // Not to the page: the allocator and the loader have their whims.
    let (last_rss, slack) = (rss_kib(pid), first_rss / 10);
    assert!(last_rss.abs_diff(first_rss) <= slack, "{first_rss} KiB, then {last_rss} KiB");
}
