use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, TcpListener, TcpStream};

use socket2::SockRef;

use super::*;

/// Tracing, if this machine lets us; where it does not, it must say why.
fn tracing() -> Option<Tracing> {
    match Tracing::start() {
        Ok(tracing) => Some(tracing),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    }
}

fn instances() -> Vec<String> {
    let root = Root::find().unwrap();
    let own = format!("{PREFIX}{}-", process::id());
    let entries = fs::read_dir(root.path.join("instances")).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(&own)).collect()
}

#[test]
fn a_listener_that_is_closed_with_somebody_in_its_queue_is_named() {
    for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)] {
        let Some(tracing) = tracing() else { return };
        let clock = Clock::start();
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        // Somebody else's, and of no interest.
        TcpStream::connect((ip, 1)).unwrap_err();
        let before = clock.now();
        // What a close does too, but only that of the last copy; and a program which another
        // test has just started has one until it has been executed.
        SockRef::from(&listener).shutdown(Shutdown::Both).unwrap();
        let after = clock.now();
        let Resets::Traced { resets, lost, reasons, pids } = tracing.finish(address, clock) else {
            panic!("it was traced")
        };
        assert_eq!((resets.len(), lost), (1, Some(0)), "{resets:?}");
        assert_eq!(resets[0].source, address);
        assert_eq!(resets[0].destination, client.local_addr().unwrap());
        assert_eq!(resets[0].reason.as_deref(), reasons.then_some("TCP_STATE"));
        // The kernel prints microseconds.
        let micro = Duration::from_micros(1);
        assert!((before.before(micro)..=after).contains(&resets[0].at), "{before:?} {resets:?}");
        if pids {
            assert_eq!(resets[0].pid, process::id());
        }
    }
}

#[test]
fn an_instance_is_removed_on_every_way_out_and_an_abandoned_one_by_the_next_run() {
    let Some(tracing) = tracing() else { return };
    let name = tracing.instance.name.clone();
    // Another run that begins meanwhile leaves it alone.
    let other = Tracing::start().unwrap();
    assert!(instances().contains(&name));
    drop((tracing, other));
    assert!(!instances().contains(&name));
    let root = Root::find().unwrap();
    let abandoned = root.path.join("instances").join(format!("{PREFIX}{}-x", process::id()));
    fs::create_dir(&abandoned).unwrap();
    root.sweep();
    assert!(!abandoned.exists());
}

#[test]
fn the_form_of_the_event_is_looked_at_first() {
    let printed =
        |fmt: &str| fields(&format!("name: tcp_send_reset\nprint fmt: \"{fmt}\", REC->x"));
    let full = "skbaddr=%p skaddr=%p src=%pISpc dest=%pISpc state=%s reason=%s";
    assert_eq!(printed(full).unwrap(), Fields { reason: true });
    let old = "skbaddr=%p skaddr=%p src=%pISpc dest=%pISpc state=%s";
    assert_eq!(printed(old).unwrap(), Fields { reason: false });
    let older = "sport=%hu dport=%hu saddr=%pI4 daddr=%pI4";
    assert!(printed(older).unwrap_err().to_string().contains("no addresses"));
    assert!(fields("").is_err());
}

#[test]
fn lost_events_are_counted() {
    let stats = "entries: 2\noverrun: 3\ncommit overrun: 9\nbytes: 184\ndropped events: 4\n";
    assert_eq!(overrun(stats), Some(7));
    assert_eq!(overrun("entries: 2\n"), None);
}

#[test]
fn a_line_that_is_not_complete_waits_for_its_rest() {
    let mut text = b"one\ntwo\nthr".to_vec();
    assert_eq!(whole_lines(&mut text).collect::<Vec<_>>(), ["one", "two"]);
    text.extend(b"ee\n");
    assert_eq!(whole_lines(&mut text).collect::<Vec<_>>(), ["three"]);
    assert!(text.is_empty());
}
