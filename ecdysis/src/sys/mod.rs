//! What the kernel does for us, behind safe signatures.
//!
//! The only directory with `unsafe` in it. Everything here takes and returns
//! owned or borrowed descriptors, never bare numbers, with one exception: a
//! number that came over exec becomes a descriptor here, once ([`fd::adopt`]).
#![allow(unsafe_code, reason = "the one place where it is allowed; each block is argued")]

pub(crate) mod fd;
pub(crate) mod mode;
pub(crate) mod stat;
pub(crate) mod child;
mod closing;
pub(crate) mod signals;
pub(crate) mod spawn;
pub(crate) mod quiesce;
