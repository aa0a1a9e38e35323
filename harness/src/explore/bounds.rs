//! How much load a schedule may have.

use crate::scenario::plan::Load;

/// Operations per second of all populations together. It is what a machine with two
/// processors generates in time while it also runs the server.
pub(super) const MOST_RATE: f64 = 1500.0;

/// Bytes per second of all populations together, each way.
const MOST_BYTES: f64 = 16e6;

/// Lowers the rates until the generator keeps up with them.
pub(super) fn keep_within(loads: &mut [Load]) {
    scale(loads, room(loads).min(1.0));
}

/// Raises the rates to what the generator keeps up with.
pub(super) fn raise(loads: &mut [Load]) {
    scale(loads, room(loads).max(1.0));
}

/// By how much all rates may grow; below 1 they are too high.
fn room(loads: &[Load]) -> f64 {
    let rate = |load: &Load| load.rate.max(load.ramp.map_or(0.0, |ramp| ramp.to));
    let bytes = |load: &Load| {
        let (least, most) = load.payload;
        rate(load) * (least + most) as f64 / 2.0
    };
    let rates: f64 = loads.iter().map(rate).sum();
    let all: f64 = loads.iter().map(bytes).sum();
    (MOST_RATE / rates).min(MOST_BYTES / all)
}

fn scale(loads: &mut [Load], factor: f64) {
    for load in loads {
        load.rate = (load.rate * factor).max(1.0);
        if let Some(ramp) = &mut load.ramp {
            ramp.to = (ramp.to * factor).max(1.0);
        }
    }
}
