//! What the load costs, and how punctual it is.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use super::server::{Manner, serve};
use super::{begin, books_balance, churn, fates, kept, plan};
use crate::event::OpKind;

/// CPU seconds of this process by name of thread.
fn cpu() -> BTreeMap<String, f64> {
    let mut cpu = BTreeMap::new();
    for task in fs::read_dir("/proc/self/task").unwrap().flatten() {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap();
        let (name, rest) = stat.split_once('(').unwrap().1.rsplit_once(')').unwrap();
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
        *cpu.entry(name.to_owned()).or_default() += ticks / 100.0;
    }
    cpu
}

#[test]
#[ignore = "a measurement: ten seconds at full rate on a quiet machine, optimised"]
fn full_rate() {
    let server = serve(Manner::Echo);
    let loads = vec![churn(6000.0), kept(400.0, 32, Duration::from_secs(2))];
    let (running, _) = begin(&plan(loads), server.address);
    std::thread::sleep(Duration::from_secs(10));
    let cpu = cpu();
    let gathered = running.finish();
    books_balance(&gathered);
    println!("intended {:?}, CPU {cpu:?}", gathered.intended);
    println!("hiccup max {:?} p99 {:?}", gathered.hiccup_max, gathered.hiccup_p99);
    for kind in [OpKind::Churn, OpKind::Open, OpKind::Request, OpKind::Close] {
        let rows = || gathered.operations.iter().filter(|row| row.kind == kind);
        let mut late: Vec<_> = rows().map(|row| row.dispatched - row.intended).collect();
        let mut took: Vec<_> = rows().map(|row| row.finished - row.intended).collect();
        late.sort_unstable();
        took.sort_unstable();
        let at = |sorted: &[Duration], percent: usize| sorted[(sorted.len() - 1) * percent / 100];
        println!("{kind:?} {:?}", fates(&gathered, kind));
        println!("  late {:?} {:?} {:?}", at(&late, 50), at(&late, 99), at(&late, 100));
        println!("  took {:?} {:?} {:?}", at(&took, 50), at(&took, 99), at(&took, 100));
    }
}
