//! How the rate of a load swells: slowly by a ramp, at once by bursts.

use std::time::Duration;

use super::error::Mistake;
use super::file::Load;
use super::form::Kind;
use super::plan::{Burst, Ramp};

/// More clients than this at once fill the backlog of any server.
const LARGEST_BURST: u64 = 4096;

/// The ramp of `load`, which begins when the warm-up is over.
pub(super) fn ramp(load: &Load, warmup: Duration) -> Result<Option<Ramp>, Mistake> {
    let Some(written) = &load.ramp else { return Ok(None) };
    let (to, over) = (written.get_ref().to.0.0, written.get_ref().over.0);
    if over.is_zero() {
        let message = "a ramp over no time is a step; write one like { to = 8000, over = \"10s\" }";
        return Err(Mistake::at(written.span(), message));
    }
    Ok(Some(Ramp { begin: warmup, over, to }))
}

/// The bursts of `load`. They are aimed at upgrades, so there must be some.
pub(super) fn bursts(load: &Load, upgraded: bool) -> Result<Vec<Burst>, Mistake> {
    let burst = |written: &toml::Spanned<super::file::Burst>| {
        let refused = |message: &str| Err(Mistake::at(written.span(), message));
        let burst = written.get_ref();
        if load.kind.0 != Kind::Churn {
            return refused(
                "a burst is of connections, each for one request; write it to a load of \
                 kind = \"churn\"",
            );
        }
        if !upgraded {
            return refused("a burst is aimed at upgrades, and there are none; write [upgrades]");
        }
        let count = *burst.count.get_ref();
        if !(1..=LARGEST_BURST).contains(&count) {
            let message = format!("count = {count} is no burst; write 1 to {LARGEST_BURST}");
            return Err(Mistake::at(burst.count.span(), message));
        }
        Ok(Burst { on: burst.on.0, offset: burst.offset.0, count })
    };
    load.burst.iter().map(burst).collect()
}
