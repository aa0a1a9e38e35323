//! Where the clients of a load connect to, and that it can carry what they send.

use super::error::Mistake;
use super::file::Load;
use super::form::Kind;
use super::plan::Endpoint;

/// The largest record that a unix socket with the kernel's usual buffer takes.
const LARGEST_RECORD: usize = 212_992 - 32;

/// The place that `load` names.
pub(super) fn endpoint(load: &Load) -> Result<Endpoint, Mistake> {
    let to = load.to.get_ref().0.clone();
    if let Endpoint::Seqpacket(_) = to {
        if load.kind.0 == Kind::Stream {
            let message = "a stream has no records, and a seqpacket socket has nothing else; \
                           write to = \"unix:{dir}/NAME\", or kind = \"churn\"";
            return Err(Mistake::at(load.to.span(), message));
        }
        at_most(load, LARGEST_RECORD, "a record of a seqpacket socket")?;
    }
    Ok(to)
}

/// Whether each payload fits into what carries it whole.
fn at_most(load: &Load, largest: usize, carrier: &str) -> Result<(), Mistake> {
    let (_, payload) = load.payload.get_ref().0;
    if payload <= largest {
        return Ok(());
    }
    let message = format!(
        "a payload of {payload} bytes does not fit into {carrier}, which holds {largest}; write \
         a smaller one, like \"64..1024\""
    );
    Err(Mistake::at(load.payload.span(), message))
}
