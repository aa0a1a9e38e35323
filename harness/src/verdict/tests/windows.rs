//! The windows of a run.

use super::recording;
use crate::clock::Stamp;
use crate::event::Outcome as Ended;
use crate::scenario::gate::Window;
use crate::verdict::Windows;

#[test]
fn every_moment_has_one_window() {
    let (mut run, ms) = (recording(), |ms: u64| Stamp(ms * 1_000_000));
    run.timeline.warmed_up = ms(100);
    run.timeline.storm_began = ms(500);
    // The second upgrade: triggered at 1997 ms, answered at 2000 ms. Its old generation
    // answers what was begun at 2100 ms, and is gone only after the third trigger.
    run.connections[210].served = run.connections[150].served;
    run.generations[1].gone = Some(ms(3200));
    let windows = Windows::new(&run);
    for (moment, window) in [
        (99, None),
        (100, Some(Window::Baseline)),
        (499, Some(Window::Baseline)),
        (500, Some(Window::After)),
        (1996, Some(Window::After)),
        (1997, Some(Window::Init)),
        (1999, Some(Window::Init)),
        (2000, Some(Window::Handover)),
        (2100, Some(Window::Handover)),
        (2101, Some(Window::Drain)),
        (2996, Some(Window::Drain)),
        (2997, Some(Window::Init)),
        (3000, Some(Window::Handover)),
        (3001, Some(Window::Drain)),
        (3199, Some(Window::Drain)),
        (3200, Some(Window::After)),
    ] {
        assert_eq!(windows.of(ms(moment)), window, "{moment} ms");
        let during = window.is_some_and(Window::is_of_upgrades);
        assert_eq!(windows.within(Window::During, ms(moment)), during, "{moment} ms");
    }
    // One that failed is over when that is known.
    run.upgrades[2].outcome = Ended::FailedAsPlanned;
    assert_eq!(Windows::new(&run).upgrades()[2].gone, run.upgrades[2].decided);
    // A supervisor lives on; who drains is whom it replaced.
    run.upgrades[2].outcome = Ended::Completed;
    run.upgrades[2].old_pid = 1;
    assert_eq!(Windows::new(&run).upgrades()[2].gone, ms(3200));
}
