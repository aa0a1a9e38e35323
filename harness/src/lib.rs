//! The judge: it drives load at a server, upgrades and sabotages it while it
//! serves, and proves from three independent ledgers whether one connection
//! was harmed.
//!
//! The order of the modules below is the layering: each imports only from
//! those above it. Read top-down, they follow a run from what was asked for
//! (`cli`, `scenario`), over what happened (`observe`, `subject`, `load`,
//! `chaos`, `conduct`), to what it means (`verdict`, `report`); `command` has
//! what puts these together. Everything that happened crosses one narrow waist,
//! [`event::Recording`], which `store` keeps, so a run can be judged without
//! being run.

#![forbid(unsafe_code)]

pub mod exit;
pub mod clock;
pub mod units;
pub mod histogram;
pub mod binomial;
pub mod trend;
pub mod chance;
pub mod event;
pub mod cli;
pub mod scenario;
pub mod explore;
pub mod store;
pub mod observe;
pub mod subject;
pub mod load;
pub mod chaos;
pub mod conduct;
pub mod verdict;
pub mod report;
pub mod command;
