//! The report for Prometheus, by way of the node exporter's textfile collector.

use std::fmt::Write;

use super::latency::Figures;
use super::model::Report;
use super::processes::UpgradeTotals;
use crate::event::Harm;
use crate::verdict::{Outcome, Status};

/// The figures in the text exposition format. Spans are seconds.
#[must_use]
pub fn prometheus(report: &Report) -> String {
    let mut page = Page { text: String::new(), scenario: report.scenario.name.clone() };
    run(&mut page, report);
    checks(&mut page, report);
    clients(&mut page, report);
    upgrades(&mut page, &report.upgrade_totals);
    observer(&mut page, report);
    page.text
}

/// Families of samples.
struct Page {
    text: String,
    scenario: String,
}

type Labels<'a> = &'a [(&'a str, &'a str)];

impl Page {
    /// What is measured once: the next run begins anew.
    fn family(&mut self, name: &str, help: &str) {
        self.head(name, help, "gauge");
    }

    /// Quantiles of what was measured often.
    fn summary(&mut self, name: &str, help: &str) {
        self.head(name, help, "summary");
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        self.text += &format!("# HELP harness_{name} {help}\n# TYPE harness_{name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: Labels<'_>, value: impl std::fmt::Display) {
        let mut all = format!("scenario=\"{}\"", escaped(&self.scenario));
        for (label, text) in labels {
            // Writing to a string cannot fail.
            let _ = write!(all, ",{label}=\"{}\"", escaped(text));
        }
        self.text += &format!("harness_{name}{{{all}}} {value}\n");
    }

    fn single(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        self.family(name, help);
        self.sample(name, &[], value);
    }

    fn quantiles(&mut self, name: &str, labels: Labels<'_>, figures: &Figures) {
        for (quantile, ns) in [
            ("0.5", figures.p50),
            ("0.99", figures.p99),
            ("0.999", figures.p999),
            ("1", figures.max),
        ] {
            let labels = [labels, &[("quantile", quantile)]].concat();
            self.sample(name, &labels, seconds(ns));
        }
        self.sample(&format!("{name}_count"), labels, figures.count);
    }
}

fn run(page: &mut Page, report: &Report) {
    page.family("run_info", "The run that the other samples are of.");
    let labels = [
        ("run_id", &*report.run_id),
        ("seed", &report.seed),
        ("target", &report.target),
        ("kernel", &report.environment.kernel),
        ("version", &report.environment.harness),
    ];
    page.sample("run_info", &labels, 1);
    page.single("run_duration_seconds", "How long the run took.", seconds(report.duration_ns));
    page.single("exit_code", "How the harness ended.", report.exit.code());
    page.family("verdict", "1 for the verdict that was given.");
    for (verdict, name) in
        [(Outcome::Pass, "pass"), (Outcome::Inconclusive, "inconclusive"), (Outcome::Fail, "fail")]
    {
        page.sample("verdict", &[("verdict", name)], u8::from(report.verdict == verdict));
    }
}

fn checks(page: &mut Page, report: &Report) {
    page.family("checks", "Checks by how they came out.");
    for (status, name) in [
        (Status::Pass, "pass"),
        (Status::Fail, "fail"),
        (Status::Inconclusive, "inconclusive"),
        (Status::NotChecked, "not_checked"),
    ] {
        let number = report.gates.iter().filter(|gate| gate.status == status).count();
        page.sample("checks", &[("status", name)], number);
    }
    page.family("check_passed", "1 for a check that held, 0 for one that did not.");
    for gate in report.gates.iter().filter(|gate| gate.status != Status::NotChecked) {
        page.sample("check_passed", &[("check", &gate.id)], u8::from(gate.ok));
    }
}

fn clients(page: &mut Page, report: &Report) {
    page.family("harmed_operations", "Operations harmed, by the kind of harm.");
    for harm in Harm::ALL {
        let count = report.harm.get(&harm).map_or(0, |done| done.count);
        page.sample("harmed_operations", &[("harm", harm.id())], count);
    }
    page.family("operations", "Operations, by how they ended.");
    for population in &report.populations {
        for (result, number) in [("ok", population.ok), ("harmed", population.harmed)] {
            page.sample(
                "operations",
                &[("population", &population.name), ("result", result)],
                number,
            );
        }
    }
    page.summary("latency_seconds", "From intended to done, of operations that ended well.");
    for population in &report.populations {
        let windows = &population.windows;
        for (window, latency) in [
            ("run", &population.latency),
            ("baseline", &windows.baseline),
            ("during", &windows.during),
            ("after", &windows.after),
        ] {
            if let Some(latency) = latency {
                let labels = [("population", &*population.name), ("window", window)];
                page.quantiles("latency_seconds", &labels, &latency.figures);
            }
        }
    }
    page.family("longest_gap_seconds", "The longest time without an operation that ended well.");
    for population in &report.populations {
        let labels = [("population", &*population.name)];
        page.sample("longest_gap_seconds", &labels, seconds(population.longest_gap_ns));
    }
}

fn upgrades(page: &mut Page, totals: &UpgradeTotals) {
    page.family("upgrades", "Upgrades, by how they ended.");
    for (outcome, number) in [
        ("completed", totals.completed),
        ("failed_as_planned", totals.failed_as_planned),
        ("failed", totals.failed),
    ] {
        page.sample("upgrades", &[("outcome", outcome)], number);
    }
    page.single("upgrades_harmful", "Upgrades while which a client was harmed.", totals.harmful);
    if let Some(answered) = &totals.answered {
        let help = "From the trigger to the first answer of the new generation.";
        page.summary("upgrade_answered_seconds", help);
        page.quantiles("upgrade_answered_seconds", &[], answered);
    }
}

fn observer(page: &mut Page, report: &Report) {
    if let Some(lateness) = &report.observer.lateness {
        page.summary("observer_lateness_seconds", "From intended to dispatched.");
        page.quantiles("observer_lateness_seconds", &[], lateness);
    }
    let help = "The longest time in which a thread of the harness was not woken.";
    page.single("observer_hiccup_seconds", help, seconds(report.observer.hiccup.max));
    let bounds = &report.bounds;
    let help = "Upper bound of the share of upgrades that harm somebody, 95 % confidence.";
    page.single("bad_upgrade_bound_ratio", help, bounds.bad_upgrade_upper);
    let help = "Upper bound of the share of connections that are harmed, 95 % confidence.";
    page.single("bad_connection_bound_ratio", help, bounds.bad_connection_upper);
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
