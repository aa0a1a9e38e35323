//! Whether the whole of a scenario can be meant, and the plan it makes.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use toml::Spanned;

use super::demand::Surroundings;
use super::error::{Mistake, checked, require};
use super::file::SCHEMA;
use super::form::Written;
use super::gate::Window;
use super::plan::{
    Coverage, Load, LoadKind, Namespace, Network, ObserverLimits, Pace, Phases, Plan, Upgrades,
};
use super::{carry, demand, file, form, mischief, speak, swell, target, text};

/// Makes the plan of a scenario.
pub(super) fn plan(
    file: file::Scenario,
    path: &Path,
    seed: u64,
    source: &str,
) -> Result<Plan, Mistake> {
    schema(&file.schema)?;
    checked(&file.name, text::name)?;
    together(&file)?;
    let coverage = coverage(&file)?;
    let attached = file.target.attach.is_some();
    let phases = Phases {
        warmup: file.phases.warmup.0,
        baseline: file.phases.baseline.0,
        storm: file.phases.storm.get_ref().0,
        settle: file.phases.settle.0,
    };
    if (phases.warmup + phases.baseline + phases.storm + phases.settle).is_zero() {
        return Err(Mistake::at(
            file.phases.storm.span(),
            "all phases together last no time; write a storm like storm = \"10s\"",
        ));
    }
    let around = Surroundings {
        loads: file.load.iter().map(|load| load.get_ref().name.get_ref().as_str()).collect(),
        upgrades: file.upgrades.is_some(),
        baseline: phases.baseline,
        after: !(phases.storm + phases.settle).is_zero(),
    };
    let gates = demand::gates(file.gates, &around, source)?;
    let around = Around {
        greets: file.target.greeting.is_some(),
        upgraded: file.upgrades.is_some(),
        warmup: phases.warmup,
    };
    Ok(Plan {
        name: file.name.into_inner(),
        about: file.about,
        path: path.to_owned(),
        seed,
        loads: loads(file.load, around)?,
        target: target::target(file.target)?,
        network: network(file.network, attached)?,
        phases,
        upgrades: file.upgrades.map(|upgrades| {
            let upgrades = upgrades.into_inner();
            Upgrades {
                every: upgrades.every.0,
                max_alive: upgrades.max_alive.into_inner(),
                most: upgrades.most.map_or(u64::MAX, Spanned::into_inner),
            }
        }),
        faults: mischief::faults(file.fault)?,
        coverage,
        limits: ObserverLimits {
            lateness_p99: file.observer.lateness_p99.0,
            lateness_max: file.observer.lateness_max.0,
            hiccup_max: file.observer.hiccup_max.0,
            shed: file.observer.shed,
        },
        gates,
    })
}

/// What a load must know of the rest of the file.
#[derive(Clone, Copy, Debug)]
struct Around {
    greets: bool,
    upgraded: bool,
    warmup: Duration,
}

fn schema(schema: &Spanned<String>) -> Result<(), Mistake> {
    if schema.get_ref() == SCHEMA {
        return Ok(());
    }
    let message =
        format!("schema `{}` is not one this harness reads; write \"{SCHEMA}\"", schema.get_ref());
    Err(Mistake::at(schema.span(), message))
}

/// What no part of the file can know by itself.
fn together(file: &file::Scenario) -> Result<(), Mistake> {
    speak::together(file)?;
    let greets = file.target.greeting.is_some();
    if let Some(upgrades) = &file.upgrades {
        require(greets, &upgrades.span(), || {
            "[upgrades] need to see who answers; write target.greeting, like \
             \"generation {generation} pid {pid}\""
        })?;
        require(
            !file.phases.storm.get_ref().0.is_zero(),
            &upgrades.span(),
            || "[upgrades] happen in the storm, which lasts no time; write phases.storm, like \"10s\"",
        )?;
        // One process always is alive, so with 1 no trigger would ever be sent.
        let max_alive = &upgrades.get_ref().max_alive;
        require(
            *max_alive.get_ref() >= 2,
            &max_alive.span(),
            || "max_alive must leave room for the old and the new process; write 2 or more",
        )?;
        if let Some(most) = &upgrades.get_ref().most {
            require(
                *most.get_ref() >= 1,
                &most.span(),
                || "most = 0 allows no upgrade; write 1 or more, or leave out [upgrades]",
            )?;
        }
    }
    target::upgradable(file)?;
    mischief::together(file)
}

fn network(network: file::Network, attached: bool) -> Result<Network, Mistake> {
    let usual = if attached { Namespace::Host } else { Namespace::Private };
    let namespace = network.namespace.as_ref().map_or(usual, |written| written.get_ref().0);
    if let Some(written) = &network.namespace {
        require(!attached || namespace == Namespace::Host, &written.span(), || {
            "a server that runs already is in no network of the run's own; write namespace = \
             \"host\", or take the key out"
        })?;
    }
    for key in network.sysctl.keys() {
        checked(key, text::sysctl)?;
        require(
            namespace == Namespace::Private,
            &key.span(),
            || "sysctl would change the machine itself; write namespace = \"private\", or no sysctl",
        )?;
    }
    if let Some(written) = &network.loss {
        let share = *written.get_ref();
        require(share > 0.0 && share <= 0.5, &written.span(), || {
            format!("loss = {share} is no share that leaves a network; write 0.02 for two percent")
        })?;
        require(
            namespace == Namespace::Private,
            &written.span(),
            || "loss would be everybody's on this machine; write namespace = \"private\", or no loss",
        )?;
    }
    let loss = network.loss.map(Spanned::into_inner);
    let sysctl = network.sysctl.into_iter().map(|(key, value)| (key.into_inner(), value));
    Ok(Network { namespace, sysctl: sysctl.collect(), loss })
}

fn loads(loads: Vec<Spanned<file::Load>>, around: Around) -> Result<Vec<Load>, Mistake> {
    if loads.is_empty() {
        return Err(Mistake::anywhere(
            "there is no load, so nobody could be harmed; write a [[load]] with name, kind and rate",
        ));
    }
    let mut done: Vec<Load> = Vec::with_capacity(loads.len());
    for load in loads {
        let load = load.into_inner();
        checked(&load.name, text::name)?;
        require(
            done.iter().all(|other| other.name != *load.name.get_ref()),
            &load.name.span(),
            || "two loads have this name, and reports could not tell them apart; write another name",
        )?;
        done.push(one_load(load, around)?);
    }
    Ok(done)
}

fn one_load(load: file::Load, around: Around) -> Result<Load, Mistake> {
    let timeout = load.timeout.get_ref().0;
    require(!timeout.is_zero() && timeout >= load.stall.0, &load.timeout.span(), || {
        format!(
            "timeout {timeout:?} is shorter than stall {:?}, so no stall would be seen; write \
             timeout = \"10s\", or a shorter stall",
            load.stall.0
        )
    })?;
    let kind = kind(&load)?;
    let to = carry::endpoint(&load, around.greets)?;
    let ramp = swell::ramp(&load, around.warmup)?;
    let bursts = swell::bursts(&load, around.upgraded)?;
    let speak = speak::speak(&load)?;
    Ok(Load {
        name: load.name.into_inner(),
        kind,
        to,
        speak,
        rate: load.rate.0.0,
        arrivals: load.arrivals.0,
        payload: load.payload.into_inner().0,
        timeout,
        stall: load.stall.0,
        ramp,
        bursts,
    })
}

/// What the clients do, and that no key is written that means nothing to them.
fn kind(load: &file::Load) -> Result<LoadKind, Mistake> {
    use form::Kind::{Churn, Idle, KeepAlive, Stream, Udp};
    let kind = load.kind.0;
    let place = |written: Option<Range<usize>>, of: &'static [form::Kind]| {
        written.filter(|_| !of.contains(&kind))
    };
    let misplaced = [
        ("connections", place(load.connections.as_ref().map(Spanned::span), &[KeepAlive, Idle])),
        ("lifetime", place(load.lifetime.as_ref().map(Spanned::span), &[KeepAlive])),
        ("send", place(load.send.as_ref().map(Spanned::span), &[Stream])),
        ("receive", place(load.receive.as_ref().map(Spanned::span), &[Stream])),
        ("half_close", place(load.half_close.as_ref().map(Spanned::span), &[Stream])),
        ("flows", place(load.flows.as_ref().map(Spanned::span), &[Udp])),
    ];
    for (key, span) in misplaced {
        if let Some(span) = span {
            let of = match key {
                "connections" | "lifetime" => "keep-alive",
                "flows" => "udp",
                _ => "stream",
            };
            let message = format!(
                "`{key}` means nothing to this kind of load; write kind = \"{of}\", or take the \
                 key out"
            );
            return Err(Mistake::at(span, message));
        }
    }
    Ok(match kind {
        Churn => LoadKind::Churn,
        Stream => stream(load)?,
        KeepAlive => keep_alive(load)?,
        Idle => LoadKind::Idle { connections: connections("connections", &load.connections)? },
        Udp => LoadKind::Udp { flows: connections("flows", &load.flows)? },
    })
}

fn stream(load: &file::Load) -> Result<LoadKind, Mistake> {
    let pace = |written: &Option<Spanned<Written<form::BytesPerSecond>>>| {
        written.as_ref().map(|pace| pace.get_ref().0.0)
    };
    let half_close = given(load.half_close.as_ref(), 0.0);
    if let Some(written) = &load.half_close {
        require((0.0..=1.0).contains(&half_close), &written.span(), || {
            format!("half_close = {half_close} is no share of clients; write 0 to 1, like 0.25")
        })?;
    }
    let pace = Pace { send: pace(&load.send), receive: pace(&load.receive) };
    let slowest = [pace.send, pace.receive].into_iter().flatten().min();
    let (_, largest) = load.payload.get_ref().0;
    let takes = slowest
        .map_or(Duration::ZERO, |pace| Duration::from_secs_f64(largest as f64 / pace as f64));
    let timeout = &load.timeout;
    require(timeout.get_ref().0 > takes, &timeout.span(), || {
        format!(
            "the largest payload takes {takes:.1?} at this pace, so it could never be in time; \
             write a longer timeout, a smaller payload or a faster pace"
        )
    })?;
    Ok(LoadKind::Stream { pace, half_close })
}

fn connections(key: &str, written: &Option<Spanned<usize>>) -> Result<usize, Mistake> {
    let connections = given(written.as_ref(), file::USUAL_CONNECTIONS);
    if let Some(written) = written {
        require(connections >= 1, &written.span(), || {
            format!("{key} = 0 is no load; write 1 or more")
        })?;
    }
    Ok(connections)
}

fn keep_alive(load: &file::Load) -> Result<LoadKind, Mistake> {
    let lifetime =
        load.lifetime.as_ref().map_or(file::USUAL_LIFETIME, |written| written.get_ref().0);
    if let Some(written) = &load.lifetime {
        require(
            !lifetime.is_zero(),
            &written.span(),
            || "a lifetime of no time keeps nothing; write one like \"2s\", or kind = \"churn\"",
        )?;
    }
    Ok(LoadKind::KeepAlive {
        connections: connections("connections", &load.connections)?,
        lifetime,
    })
}

fn coverage(file: &file::Scenario) -> Result<Coverage, Mistake> {
    let (upgraded, sabotaged) = (file.upgrades.is_some(), !file.fault.is_empty());
    let written = &file.coverage;
    let unreachable = |key: &str, section: &str| {
        format!(
            "coverage asks for {key}, but without {section} there will be none; write {section}, \
             or take the key out"
        )
    };
    if let Some(upgrades) = &written.upgrades {
        require(upgraded || *upgrades.get_ref() == 0, &upgrades.span(), || {
            unreachable("upgrades", "[upgrades]")
        })?;
    }
    if let Some(share) = &written.connections_per_upgrade {
        let value = *share.get_ref();
        require(value.is_finite() && value >= 0.0, &share.span(), || {
            format!("connections_per_upgrade = {value} cannot be reached; write a number like 20")
        })?;
        require(upgraded || value == 0.0, &share.span(), || {
            unreachable("connections_per_upgrade", "[upgrades]")
        })?;
    }
    if let Some(faults) = &written.faults {
        require(sabotaged || *faults.get_ref() == 0, &faults.span(), || {
            unreachable("faults", "[[fault]]")
        })?;
    }
    if let Some(tolerated) = &written.tolerated {
        require(
            sabotaged || tolerated.get_ref().is_empty(),
            &tolerated.span(),
            || "without a [[fault]] no harm can be tolerated; take the key out",
        )?;
    }
    if let Some(delivered) = &written.faults_delivered {
        require(sabotaged, &delivered.span(), || unreachable("faults_delivered", "[[fault]]"))?;
    }
    let tolerated = written.tolerated.as_ref().map(Spanned::get_ref);
    Ok(Coverage {
        upgrades: given(written.upgrades.as_ref(), u64::from(upgraded)),
        connections: written.connections.unwrap_or(1),
        connections_per_upgrade: given(
            written.connections_per_upgrade.as_ref(),
            if upgraded { file::USUAL_CONNECTIONS_PER_UPGRADE } else { 0.0 },
        ),
        faults: given(written.faults.as_ref(), u64::from(sabotaged)),
        tolerated: tolerated.into_iter().flatten().map(|harm| harm.0).collect(),
        faults_delivered: written.faults_delivered.as_ref().map(|given| given.get_ref().0),
        ops_in_window: ops_in_window(file)?,
    })
}

fn ops_in_window(file: &file::Scenario) -> Result<Vec<(Window, u64)>, Mistake> {
    let Some(written) = file.coverage.ops_in_window.as_ref().map(Spanned::get_ref) else {
        return Ok(Vec::new());
    };
    let mut windows = Vec::new();
    for window in &written.windows {
        let Written(kind) = *window.get_ref();
        require(file.upgrades.is_some() || !kind.is_of_upgrades(), &window.span(), || {
            format!(
                "the window `{}` is a part of upgrades, and there are none; write an [upgrades] \
                 section, or take it out",
                kind.id()
            )
        })?;
        windows.push((kind, written.min));
    }
    Ok(windows)
}

fn given<T: Copy>(value: Option<&Spanned<T>>, default: T) -> T {
    value.map_or(default, |value| *value.get_ref())
}
