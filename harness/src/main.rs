//! The judge.

fn main() {}
