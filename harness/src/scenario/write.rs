//! A plan, written as the scenario file that it comes from: with every key, so that
//! what is the default later does not matter.

use std::fmt::{Display, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml_edit::{Array, InlineTable, Value};

use super::catalogue::Entry;
use super::file::SCHEMA;
use super::form::Word;
use super::gate::Gate;
use super::plan::{
    Addressee, Burst, By, Coverage, Delivered, Endpoint, Fault, Load, LoadKind, Network,
    ObserverLimits, Pace, Phases, Plan, Speak, Target, Upgrades, When,
};
use crate::units::{seed_text, span_text};

impl Plan {
    /// The text of a scenario file that is loaded as this plan again, but for the
    /// place where it stands and the lines of its gates.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut page = Page::default();
        page.text("schema", SCHEMA);
        page.text("name", &self.name);
        page.text("about", &self.about);
        page.text("seed", &seed_text(self.seed));
        target(&mut page, &self.target);
        network(&mut page, &self.network);
        phases(&mut page, self.phases);
        self.loads.iter().for_each(|one| load(&mut page, one));
        if let Some(all) = self.upgrades {
            upgrades(&mut page, all);
        }
        self.faults.iter().for_each(|one| fault(&mut page, one));
        coverage(&mut page, &self.coverage);
        observer(&mut page, self.limits);
        gates(&mut page, &self.gates);
        page.0
    }

    /// The plan, as it is written in a file at `path`: what it says of the directory
    /// of its scenario is still about the one that it came from.
    #[must_use]
    pub fn moved(&self, path: &Path) -> Self {
        let directory = |file: &Path| {
            let directory = file.parent().map_or_else(PathBuf::new, Path::to_owned);
            std::path::absolute(directory.join(".")).unwrap_or(directory)
        };
        let here = format!("{{here}}{}", way(&directory(path), &directory(&self.path)));
        let mut plan = self.clone();
        let mut words: Vec<&mut String> = plan.target.command.iter_mut().collect();
        if let By::Command(command) = &mut plan.target.trigger.by {
            words.extend(command);
        }
        words.into_iter().for_each(|word| *word = word.replace("{here}", &here));
        plan.path = path.to_owned();
        plan
    }
}

/// The way from one absolute directory to another, with a slash before each step.
fn way(from: &Path, to: &Path) -> String {
    let (from, to): (Vec<_>, Vec<_>) = (from.components().collect(), to.components().collect());
    let same = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
    let up = from.iter().skip(same).map(|_| "..".to_owned());
    let down = to.iter().skip(same).map(|part| part.as_os_str().to_string_lossy().into_owned());
    up.chain(down).map(|step| format!("/{step}")).collect()
}

/// What has been written so far.
#[derive(Debug, Default)]
struct Page(String);

impl Page {
    fn section(&mut self, head: &str) {
        self.line(format_args!("\n{head}"));
    }

    fn value(&mut self, key: &str, value: impl Display) {
        self.line(format_args!("{key} = {value}"));
    }

    fn text(&mut self, key: &str, text: &str) {
        self.value(key, quoted(text));
    }

    fn span(&mut self, key: &str, span: Duration) {
        self.text(key, &span_text(span));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Into a string, which takes everything.
        let _ = writeln!(self.0, "{line}");
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A number with a point or an exponent, which TOML needs to see that it is one.
fn number(number: f64) -> String {
    format!("{number:?}")
}

fn list(texts: &[String]) -> String {
    texts.iter().map(String::as_str).collect::<Array>().to_string()
}

fn target(page: &mut Page, target: &Target) {
    page.section("[target]");
    match &target.attach {
        Some(attach) => {
            let mut table = InlineTable::new();
            table.insert("connect", attach.connect.to_string().into());
            if let Some(pid) = attach.pid {
                table.insert("pid", i64::from(pid).into());
            }
            page.value("attach", table);
        }
        None => page.value("command", list(&target.command)),
    }
    for (key, text) in
        [("pid_file", &target.pid_file), ("greeting", &target.greeting), ("ledger", &target.ledger)]
    {
        if let Some(text) = text {
            page.text(key, text);
        }
    }
    page.value("closes_idle", target.closes_idle);
    let mut trigger = InlineTable::new();
    match &target.trigger.by {
        By::Signal(signal) => {
            trigger.insert("signal", signal.word().into());
        }
        By::Command(command) => {
            let words: Array = command.iter().map(String::as_str).collect();
            trigger.insert("command", Value::Array(words));
        }
        By::Socket { path, send } => {
            trigger.insert("socket", path.as_str().into());
            trigger.insert("send", send.as_str().into());
        }
    }
    trigger.insert("to", Addressee::word(target.trigger.to).into());
    page.value("trigger", trigger);
    page.text("stop", target.stop_signal.word());
    page.span("ready_timeout", target.ready_timeout);
    page.span("drain_timeout", target.drain_timeout);
}

fn network(page: &mut Page, network: &Network) {
    page.section("[network]");
    page.text("namespace", network.namespace.word());
    let sysctl: InlineTable =
        network.sysctl.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    page.value("sysctl", sysctl);
    if let Some(loss) = network.loss {
        page.value("loss", loss);
    }
}

fn phases(page: &mut Page, phases: Phases) {
    page.section("[phases]");
    page.span("warmup", phases.warmup);
    page.span("baseline", phases.baseline);
    page.span("storm", phases.storm);
    page.span("settle", phases.settle);
}

fn load(page: &mut Page, load: &Load) {
    page.section("[[load]]");
    page.text("name", &load.name);
    page.text("kind", kind(&load.kind));
    match &load.to {
        Endpoint::Tcp => page.text("to", "tcp"),
        Endpoint::Unix(path) => page.text("to", &format!("unix:{path}")),
        Endpoint::Seqpacket(path) => page.text("to", &format!("seqpacket:{path}")),
        // Datagrams go nowhere else.
        Endpoint::Udp => {}
    }
    match &load.speak {
        Speak::Echo => {
            let (least, most) = load.payload;
            page.text("payload", &format!("{least}..{most}"));
        }
        Speak::Http(http) => {
            page.text("speak", "http");
            page.text("path", &http.path);
            page.text("host", &http.host);
            let mut expect = InlineTable::new();
            if let Some(status) = http.status {
                expect.insert("status", i64::from(status).into());
            }
            let bytes = http.body_bytes.and_then(|bytes| i64::try_from(bytes).ok());
            if let Some(bytes) = bytes {
                expect.insert("body_bytes", bytes.into());
            }
            page.value("expect", expect);
        }
    }
    page.value("rate", number(load.rate));
    page.text("arrivals", load.arrivals.word());
    page.span("timeout", load.timeout);
    page.span("stall", load.stall);
    clients(page, &load.kind);
    if let Some(ramp) = load.ramp {
        // It begins when the warm-up is over, in a plan as in a file.
        let (to, over) = (number(ramp.to), quoted(&span_text(ramp.over)));
        page.value("ramp", format_args!("{{ to = {to}, over = {over} }}"));
    }
    if !load.bursts.is_empty() {
        page.value(
            "burst",
            format_args!("[\n{}]", load.bursts.iter().map(burst).collect::<String>()),
        );
    }
}

fn kind(kind: &LoadKind) -> &'static str {
    match kind {
        LoadKind::Churn => "churn",
        LoadKind::Stream { .. } => "stream",
        LoadKind::KeepAlive { .. } => "keep-alive",
        LoadKind::Idle { .. } => "idle",
        LoadKind::Udp { .. } => "udp",
    }
}

/// What only some kinds of load have.
fn clients(page: &mut Page, kind: &LoadKind) {
    match kind {
        LoadKind::Churn => {}
        LoadKind::Stream { pace: Pace { send, receive }, half_close } => {
            for (key, pace) in [("send", send), ("receive", receive)] {
                if let Some(pace) = pace {
                    page.text(key, &format!("{pace}B/s"));
                }
            }
            page.value("half_close", number(*half_close));
        }
        LoadKind::KeepAlive { connections, lifetime } => {
            page.value("connections", connections);
            page.span("lifetime", *lifetime);
        }
        LoadKind::Idle { connections } => page.value("connections", connections),
        LoadKind::Udp { flows } => page.value("flows", flows),
    }
}

fn burst(burst: &Burst) -> String {
    let sign = if burst.offset.0 < 0 { "-" } else { "" };
    let offset = span_text(Duration::from_nanos(burst.offset.0.unsigned_abs()));
    format!(
        "    {{ on = \"{}\", offset = \"{sign}{offset}\", count = {} }},\n",
        burst.on.name(),
        burst.count
    )
}

fn upgrades(page: &mut Page, upgrades: Upgrades) {
    page.section("[upgrades]");
    page.span("every", upgrades.every);
    page.value("max_alive", upgrades.max_alive);
    // As many as the storm has time for is what it is when it is left out.
    if upgrades.most != u64::MAX {
        page.value("most", upgrades.most);
    }
}

fn fault(page: &mut Page, fault: &Fault) {
    page.section("[[fault]]");
    match Entry::of(fault) {
        Some((entry, span)) => {
            page.text("kind", entry.name);
            if let Some(span) = span {
                page.span("span", span);
            }
        }
        None => page.text("id", &fault.id),
    }
    match &fault.when {
        When::Every(every) => page.value("every", every),
        When::Upgrades(numbers) => page.value("upgrades", format_args!("{numbers:?}")),
        When::Chance(chance) => page.value("chance", number(*chance)),
    }
    let mut expect = InlineTable::new();
    expect.insert("upgrade", fault.expect.upgrade.word().into());
    expect.insert("clients", fault.expect.clients.word().into());
    if let Some(told) = &fault.expect.told {
        expect.insert("told", told.as_str().into());
    }
    page.value("expect", expect);
}

fn coverage(page: &mut Page, coverage: &Coverage) {
    page.section("[coverage]");
    page.value("upgrades", coverage.upgrades);
    page.value("connections", coverage.connections);
    page.value("connections_per_upgrade", number(coverage.connections_per_upgrade));
    page.value("faults", coverage.faults);
    if !coverage.tolerated.is_empty() {
        let ids: Array = coverage.tolerated.iter().map(|harm| harm.id()).collect();
        page.value("tolerated", ids);
    }
    match coverage.faults_delivered {
        Some(Delivered::All) => page.text("faults_delivered", "all"),
        Some(Delivered::AtLeast(many)) => page.value("faults_delivered", many),
        None => {}
    }
    // One number for all of them, as a file has it.
    if let Some((_, min)) = coverage.ops_in_window.first() {
        let windows: Array = coverage.ops_in_window.iter().map(|(window, _)| window.id()).collect();
        page.value("ops_in_window", format_args!("{{ min = {min}, windows = {windows} }}"));
    }
}

fn observer(page: &mut Page, limits: ObserverLimits) {
    page.section("[observer]");
    page.span("lateness_p99", limits.lateness_p99);
    page.span("lateness_max", limits.lateness_max);
    page.span("hiccup_max", limits.hiccup_max);
    page.value("shed", limits.shed);
}

fn gates(page: &mut Page, gates: &[Gate]) {
    if gates.is_empty() {
        return;
    }
    page.section("[gates]");
    for gate in gates {
        let (name, is) = (quoted(&gate.name), quoted(&gate.is));
        page.value(&name, format_args!("{{ is = {is}, min_samples = {} }}", gate.min_samples));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_leads_from_one_directory_to_the_other() {
        let way = |from: &str, to: &str| way(Path::new(from), Path::new(to));
        assert_eq!(way("/a/b", "/a/b"), "");
        assert_eq!(way("/a/b", "/a/c/d"), "/../c/d");
        assert_eq!(way("/a", "/a/c"), "/c");
        assert_eq!(way("/a/b/c", "/"), "/../../..");
    }
}
