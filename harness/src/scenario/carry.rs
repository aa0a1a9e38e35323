//! Where the clients of a load connect to, and that it can carry what they send.

use std::ops::RangeInclusive;

use super::error::Mistake;
use super::file::Load;
use super::form::Kind;
use super::plan::Endpoint;

/// The largest record that a unix socket with the kernel's usual buffer takes.
const LARGEST_RECORD: usize = 212_992 - 32;

/// The largest datagram of UDP over IPv4.
const LARGEST_DATAGRAM: usize = 65_507;

/// The longest greeting, which an answer carries as well.
const LONGEST_GREETING: usize = 512;

/// Two datagrams that are shorter could not be told apart.
const SMALLEST_DATAGRAM: usize = 8;

/// The place that `load` names. A server that `greets` does so in each answer.
pub(super) fn endpoint(load: &Load, greets: bool) -> Result<Endpoint, Mistake> {
    let to = load.to.as_ref();
    if load.kind.0 == Kind::Udp {
        if let Some(to) = to {
            let message = "`to` means nothing to datagrams, which go to {addr}; take the key out";
            return Err(Mistake::at(to.span(), message));
        }
        let room = if greets { LONGEST_GREETING } else { 0 };
        fits(load, SMALLEST_DATAGRAM..=LARGEST_DATAGRAM - room, "a datagram and its answer")?;
        return Ok(Endpoint::Udp);
    }
    let Some(to) = to else { return Ok(Endpoint::Tcp) };
    let place = to.get_ref().0.clone();
    if let Endpoint::Seqpacket(_) = place {
        if load.kind.0 == Kind::Stream {
            let message = "a stream has no records, and a seqpacket socket has nothing else; \
                           write to = \"unix:{dir}/NAME\", or kind = \"churn\"";
            return Err(Mistake::at(to.span(), message));
        }
        fits(load, 1..=LARGEST_RECORD, "a record of a seqpacket socket")?;
    }
    Ok(place)
}

/// Whether each payload is one of those that `carrier` can carry.
fn fits(load: &Load, sizes: RangeInclusive<usize>, carrier: &str) -> Result<(), Mistake> {
    let (least, most) = load.payload.get_ref().0;
    if sizes.contains(&least) && sizes.contains(&most) {
        return Ok(());
    }
    let message = format!(
        "a payload of {least} to {most} bytes does not do for {carrier}, which can have {} to {}; \
         write one like \"64..1024\"",
        sizes.start(),
        sizes.end()
    );
    Err(Mistake::at(load.payload.span(), message))
}
