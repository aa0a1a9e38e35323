//! What makes a server large.

use std::thread;

/// The memory is in pages of this size.
const PAGE: usize = 4096;

/// `bytes` of memory, every page of it in use, none of them huge: as much work
/// for a fork as they can be.
pub(crate) fn resident(bytes: usize) -> nix::Result<Vec<u8>> {
    nix::sys::prctl::set_thp_disable(true)?;
    let mut memory = vec![0; bytes];
    // Half of it each: a fresh page costs the kernel more than us.
    let (one, other) = memory.split_at_mut(bytes / 2);
    let touch = |half: &mut [u8]| half.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
    thread::scope(|scope| {
        scope.spawn(|| touch(one));
        touch(other);
    });
    Ok(memory)
}
