//! Broken on purpose.

fn main() {}
