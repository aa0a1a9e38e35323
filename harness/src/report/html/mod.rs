//! The report as one page: figures as text, pictures as inline SVG, the whole
//! report as inline JSON. It asks the network for nothing, says all that matters
//! without its script, and can be printed.
//!
//! Every picture is as wide as its place. So that a line of text keeps its size
//! when a picture is made narrow, only shapes are stretched; text is put at
//! shares of the width.

mod axis;
mod svg;
mod micro;
mod banner;
mod gates;
mod generations;
mod rates;
mod timeline;
mod superposed;
mod percentiles;
mod harms;
mod ledger;
mod upgrades;
mod coverage;
mod page;

pub use page::render;
