//! The figures as tables in Markdown.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::figures::{Figures, Sabotage, Storm};
use crate::measures::{Comparison, MEASURES, measure};
use crate::peer::{OURS, PEERS, Role};
use crate::sabotage::Fault;
use crate::stopping::{IN_FLIGHT, QUEUED};
use crate::throughput::PLAIN;

/// The rows of a table, and its columns by measure.
struct Shape<'a> {
    rows: &'a [&'a str],
    columns: &'a [&'a str],
}

/// How a peer is called.
pub(crate) fn title(id: &str) -> &str {
    match PEERS.iter().find(|peer| peer.id == id) {
        Some(peer) => peer.title,
        None if id == PLAIN => "plain Tokio listener",
        None if id == "shellflip-socket" => "shellflip 2.1.3, with its socket",
        None => id,
    }
}

pub(crate) fn whole(figures: &Figures) -> String {
    let mut text = String::from("# Peers, side by side\n\n");
    text += &origin(figures);
    text += METHOD;
    for (heading, about, table) in sections(figures) {
        text += &format!("\n## {heading}\n\n{about}\n\n{table}");
    }
    text += &format!("\n## Where this library is not the best\n\n{}", behind(figures));
    text
}

const METHOD: &str = "
Each cell has the median of the rounds, and in parentheses the least and the most; one
figure alone was the same in each. Rounds are interleaved: each has every server once,
each in fresh processes. Times of one machine, busy or not, are no times of another;
what is compared is what was measured in turn.

Echo servers share their code (`ci/bench-peers/echo.rs`) and differ by their library
alone. nginx and HAProxy are other programs that do other work: their times to take over
stand beside the others', their throughput beside one another only.
";

/// When, where and by what.
pub(crate) fn origin(figures: &Figures) -> String {
    let Some(env) = Some(&figures.environment) else { return String::new() };
    format!(
        "`{}`, {} rounds in {} min, at {} ({}), Linux {}, {} processors; {}. Loopback, \
         client and server on the same machine, which is a noisy one.\n",
        env.command,
        figures.rounds,
        env.seconds.div_ceil(60),
        env.date,
        env.commit,
        env.kernel,
        env.processors,
        env.versions.join("; "),
    )
}

fn sections(figures: &Figures) -> Vec<(&'static str, String, String)> {
    let (gib, rate) = (figures.environment.gib, figures.environment.rate);
    let graceful: Vec<&str> = ids(|role| role == Role::Graceful);
    let upgraded: Vec<&str> = ids(|role| role != Role::Floor);
    let all: Vec<&str> = ids(|_| true);
    let of = |rows: &[&str], columns: &[&str]| table(figures, &Shape { rows, columns });
    vec![
        ("An upgrade", UPGRADE.to_owned(), of(&upgraded, &["latency.start", "latency.answered", "latency.stopped", "latency.told"])),
        ("A storm of upgrades", format!("{rate} {STORM}"), storms(figures, "storm", &all)),
        ("Successors killed before they are ready", KILLED.to_owned(), storms(figures, "killed", &graceful)),
        ("Upgrades that cannot succeed", SABOTAGE.to_owned(), sabotages(figures)),
        (
            "What memory costs",
            format!("Worst round trip of clients of the old process while it starts a new one: \
                     empty, and holding {gib} GiB in small pages. Not applicable to nginx and \
                     HAProxy, whose processes are small whatever they serve. shellflip forks only \
                     if its socket is enabled.", ),
            of(&["ours", "published", "shellflip", "shellflip-socket"], &["stall.empty", "stall.full"]),
        ),
        ("Without upgrades, echo", "Echoes on kept connections, and connections that get one greeting, beside the same server on Tokio's own listener; medians of 20 ms slices that follow each other.".to_owned(), steady(figures, &["ours", "published", "shellflip", PLAIN])),
        ("Without upgrades, web", "A page of 16 KiB; comparable with each other only.".to_owned(), steady(figures, &["nginx-reload", "haproxy"])),
        (
            "A stop",
            format!("Clients lost by a stop, of {IN_FLIGHT} whose request was half read, and of {QUEUED} in the \
                     accept queue. By the signal that asks for a graceful stop: SIGTERM, for nginx \
                     SIGQUIT, for HAProxy SIGUSR1. What a real systemd makes of it is tried by `ci/systemd`."),
            of(&graceful, &["stop.flight", "stop.queue"]),
        ),
    ]
}

const UPGRADE: &str = "A client connects as fast as one connection at a time allows, and reads \
     which process answers. The first column, the start of the same program, is what no upgrade \
     can beat. `–` in the last: nobody tells (nginx answers before it has begun, the published \
     crate and HAProxy 2.6 only close the connection).";

const STORM: &str = "connections a second of one request each, and 400 requests a second on \
     32 kept connections, judged by the harness in a network of its own; an upgrade each 600 ms. \
     To end a connection that is idle is allowed by HTTP, whose clients ask again, and \
     not by other protocols. The controls show that this load sees what it is to see.";

const KILLED: &str = "The same load; every other successor gets SIGKILL between its exec and its \
     readiness, proved by the harness: the old process must have answered a connection that was \
     begun after the successor was frozen. At a master's child, nginx's or HAProxy's, it cannot aim.";

const SABOTAGE: &str = "The program is gone from its place, or there is one that starts and never \
     gets ready. Ours is told to wait 2 s for it, the published crate waits 5 s; whoever asks waits \
     8 s. Then the true program is put back, whatever hangs is killed, and the next upgrade tried. \
     nginx and HAProxy are asked by a signal, which gets no answer; asked over its master's socket \
     while its program is gone, HAProxy 2.6 ends, workers and all.";

fn ids(wanted: fn(Role) -> bool) -> Vec<&'static str> {
    PEERS.iter().filter(|peer| wanted(peer.role)).map(|peer| peer.id).collect()
}

fn table(figures: &Figures, shape: &Shape<'_>) -> String {
    let titles = shape.columns.iter().map(|id| measure(id).map_or(*id, |measure| measure.title));
    let mut text = head(&titles.collect::<Vec<_>>());
    for row in shape.rows {
        let cells = shape.columns.iter().map(|id| cell(figures, id, row));
        line(&mut text, row, &cells.collect::<Vec<_>>());
    }
    text
}

fn head(titles: &[&str]) -> String {
    format!("| server | {} |\n|---|{}\n", titles.join(" | "), "---:|".repeat(titles.len()))
}

fn line(text: &mut String, row: &str, cells: &[String]) {
    let name = if row == OURS { format!("**{}**", title(row)) } else { title(row).to_owned() };
    let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
}

/// The median, and the least and the most where they differ.
pub(crate) fn cell(figures: &Figures, id: &str, row: &str) -> String {
    let digits = measure(id).map_or(1, |measure| measure.digits);
    let Some(spread) = figures.spread(id, row) else { return "–".to_owned() };
    let [least, median, most] =
        [spread.least, spread.median, spread.most].map(|figure| format!("{figure:.digits$}"));
    if least == most { median } else { format!("{median} ({least}–{most})") }
}

fn storms(figures: &Figures, kind: &str, rows: &[&str]) -> String {
    let per = if kind == "storm" {
        ["storm.churn", "storm.kept", "storm.idle"].as_slice()
    } else {
        &["killed.harm"]
    };
    let titles = per.iter().map(|id| measure(id).map_or(*id, |measure| measure.title));
    let first = if kind == "storm" { "upgrades" } else { "killed" };
    let titles: Vec<_> = [first, "connections"]
        .into_iter()
        .chain(titles)
        .chain(["kinds of harm, all rounds"])
        .collect();
    let mut text = head(&titles);
    for row in rows {
        let all: Vec<&Storm> = figures.storms(kind, row).collect();
        if all.is_empty() {
            continue;
        }
        let sum = |of: fn(&Storm) -> u64| all.iter().map(|storm| of(storm)).sum::<u64>();
        let times =
            if kind == "storm" { sum(|storm| storm.upgrades) } else { sum(|storm| storm.killed) };
        let mut cells = vec![times.to_string(), sum(|storm| storm.connections).to_string()];
        cells.extend(per.iter().map(|id| cell(figures, id, row)));
        cells.push(kinds(&all));
        line(&mut text, row, &cells);
    }
    text
}

fn kinds(storms: &[&Storm]) -> String {
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for (kind, count) in storms.iter().flat_map(|storm| &storm.harm) {
        *sums.entry(kind).or_default() += count;
    }
    if sums.is_empty() {
        return "none".to_owned();
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let texts: Vec<_> = sums.into_iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    texts.join(", ")
}

fn steady(figures: &Figures, rows: &[&str]) -> String {
    let mut text = head(&[
        "answers/s, kept",
        "of plain's",
        "µs each",
        "connections/s",
        "of plain's",
        "µs each",
    ]);
    for row in rows {
        let mut cells = Vec::new();
        for kind in ["kept", "accepted"] {
            let rate = figures.spread(&format!("rate.{kind}"), row);
            cells.push(rate.map_or("–".to_owned(), |rate| format!("{:.0}", rate.median)));
            cells.push(cell(figures, &format!("ratio.{kind}"), row));
            cells.push(cell(figures, &format!("cost.{kind}"), row));
        }
        line(&mut text, row, &cells);
    }
    text
}

fn sabotages(figures: &Figures) -> String {
    let mut text = String::from(
        "| server | fault | harmed | served on | whoever asked was told | next upgrade works |\n\
         |---|---|---:|---|---|---|\n",
    );
    for peer in PEERS {
        for fault in Fault::ALL.map(Fault::id) {
            let of = figures.sabotages.iter();
            let of: Vec<_> = of.filter(|one| one.peer == peer.id && one.fault == fault).collect();
            let Some(last) = of.last() else { continue };
            let always = |holds: fn(&Sabotage) -> bool| {
                let count = of.iter().filter(|one| holds(one)).count();
                if count == of.len() {
                    "yes".to_owned()
                } else if count == 0 {
                    "**no**".to_owned()
                } else {
                    format!("{count} of {}", of.len())
                }
            };
            let harmed: u64 = of.iter().map(|one| one.harmed).sum();
            let connections: u64 = of.iter().map(|one| one.connections).sum();
            let (serves, upgrades) = (always(|one| one.serves), always(|one| one.upgrades));
            let cells =
                [format!("{fault} | {harmed} of {connections}"), serves, told(last), upgrades];
            line(&mut text, peer.id, &cells);
        }
    }
    text
}

fn told(one: &Sabotage) -> String {
    let (Some(words), Some(ms)) = (&one.told, one.told_ms) else {
        return "nobody to ask".to_owned();
    };
    let words = if words.is_empty() { "nothing (the connection was closed)" } else { words };
    let short: String = words.chars().take(160).collect();
    let more = if short.len() < words.len() { "…" } else { "" };
    let said = short.replace('|', "\\|").replace('\n', " ");
    let what = if one.told_failure { "that it failed" } else { "no verdict" };
    format!("{what}, after {ms:.0} ms: `{said}{more}`")
}

/// Where ours is not the best, by how much, and why.
pub(crate) fn behind(figures: &Figures) -> String {
    let mut text = String::new();
    for compared in MEASURES.into_iter().filter_map(|measure| Comparison::of(measure, figures)) {
        if !compared.is_worse() {
            continue;
        }
        let (of, digits) = (compared.measure, compared.measure.digits);
        let noise = if compared.is_worse_beyond_noise() {
            "beyond the noise"
        } else {
            "within the noise: rounds overlap"
        };
        let _ = writeln!(
            text,
            "* {}: {:.digits$}, {} {:.digits$}; {noise}.{}",
            of.title,
            compared.ours.median,
            title(compared.best),
            compared.of_best.median,
            of.excuse.map(|excuse| format!(" {excuse}")).unwrap_or_default(),
        );
    }
    if text.is_empty() { "Nowhere, in these rounds.\n".to_owned() } else { text }
}

/// What the README shows.
pub(crate) fn summary(figures: &Figures) -> String {
    let columns = [
        ("latency.answered", "new answers, ms"),
        ("latency.stopped", "old stops, ms"),
        ("latency.told", "told, ms"),
        ("storm.churn", "harm, churn"),
        ("storm.kept", "harm, kept"),
        ("storm.idle", "idle ended"),
        ("stall.full", "stall when large, ms"),
        ("stop.queue", "lost in the queue by a stop"),
    ];
    let mut text = head(
        &columns
            .map(|(_, title)| title)
            .iter()
            .copied()
            .chain(["after a failure"])
            .collect::<Vec<_>>(),
    );
    for row in ids(|_| true) {
        let mut cells: Vec<_> = columns
            .iter()
            .map(|(id, _)| {
                let digits = measure(id).map_or(1, |measure| measure.digits);
                figures
                    .spread(id, row)
                    .map_or("–".to_owned(), |spread| format!("{:.digits$}", spread.median))
            })
            .collect();
        let faults: Vec<_> = figures.sabotages.iter().filter(|one| one.peer == row).collect();
        let works = faults.iter().all(|one| one.serves && one.upgrades);
        cells.push(
            if faults.is_empty() {
                "–"
            } else if works {
                "upgrades"
            } else {
                "**stuck**"
            }
            .to_owned(),
        );
        line(&mut text, row, &cells);
    }
    text
}
