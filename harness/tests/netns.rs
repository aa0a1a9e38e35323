//! The private network, entered for real, by a process that has one thread.

use std::error::Error;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use harness::observe::counters::Tables;
use harness::observe::netns::{self, NetnsError};
use harness::observe::procfs;

fn main() -> Result<(), Box<dyn Error>> {
    let before = fs::read_link("/proc/self/ns/net")?;
    let setting = ("net.ipv4.tcp_syn_retries".to_owned(), "3".to_owned());
    netns::enter(&[setting])?;
    let inside = fs::read_link("/proc/self/ns/net")?;
    assert_ne!(inside, before);
    assert_eq!(fs::read_to_string("/proc/sys/net/ipv4/tcp_syn_retries")?.trim(), "3");

    // The connection that was refused to show that loopback works is all that
    // ever happened here.
    let counted = Tables::read()?.counters();
    assert_eq!(counted.get("Tcp.ActiveOpens"), Some(&1));
    assert_eq!(counted.get("Tcp.PassiveOpens"), Some(&0));

    // On any machine, somebody may listen at port 80; here, it is free, or too
    // low for a user, who gets another one.
    let listener =
        TcpListener::bind("127.0.0.1:80").or_else(|_| TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    TcpStream::connect(address)?;
    assert!(procfs::is_listening(address)?);
    assert_eq!(Tables::read()?.counters().get("Tcp.PassiveOpens"), Some(&1));

    // Processes that are started later are inside, and open to inspection.
    let mut child = Command::new("sleep").arg("100").spawn()?;
    let network = fs::read_link(format!("/proc/{}/ns/net", child.id()));
    let held = procfs::resources(child.id());
    child.kill()?;
    child.wait()?;
    assert_eq!(network?, inside);
    assert!(!held?.fds.is_empty());

    let unknown = ("net.ipv4.no_such_setting".to_owned(), "1".to_owned());
    let refused = netns::enter(&[unknown]);
    assert!(matches!(refused, Err(NetnsError::Sysctl { .. })), "{refused:?}");
    Ok(())
}
