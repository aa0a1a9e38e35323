//! How far a run has come, while it runs.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::Duration;

use super::number::{count, rate, things};
use crate::event::Progress;

/// As many columns as a course has; with its words it fits in 80.
const COLUMNS: usize = 56;
/// As many outbreaks of harm as are named.
const OUTBREAKS: usize = 6;
/// Heights of a column.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// The lines of a block.
const LINES: usize = 5;

/// Writes progress now and then, as the writer's reader can take it.
#[derive(Debug)]
pub struct Ticker<W> {
    out: W,
    /// Whether lines can be written over.
    terminal: bool,
    /// When the run will have reached its next line.
    due: Duration,
    /// Whether a block stands above the cursor.
    drawn: bool,
    course: Course,
}

/// What the ticks so far have told.
#[derive(Debug, Default)]
struct Course {
    last: Progress,
    /// Operations per second, from tick to tick.
    done: VecDeque<u64>,
    /// Operations harmed, from tick to tick.
    harmed: VecDeque<u64>,
    /// Processes alive.
    alive: VecDeque<u64>,
    /// When harm was newly done, and how much.
    outbreaks: VecDeque<(Duration, u64)>,
}

impl<W: Write> Ticker<W> {
    /// Writes to `out`: a block that is written over each second if it is a
    /// terminal, otherwise a plain line every five seconds.
    pub fn new(out: W, terminal: bool) -> Self {
        let course = Course::default();
        Self { out, terminal, due: Duration::ZERO, drawn: false, course }
    }

    /// Writes what is due.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn tick(&mut self, progress: &Progress) -> io::Result<()> {
        if progress.elapsed < self.due {
            return Ok(());
        }
        if self.terminal {
            self.due = progress.elapsed + Duration::from_secs(1);
            self.course.add(progress);
            self.back()?;
            self.drawn = true;
            // A terminal that is too narrow cuts a line: one that went on below
            // could not be written over.
            self.out.write_all(b"\x1b[?7l")?;
            for line in self.course.block() {
                writeln!(self.out, "\x1b[K{line}")?;
            }
            self.out.write_all(b"\x1b[?7h")?;
        } else {
            self.due = progress.elapsed + Duration::from_secs(5);
            writeln!(self.out, "{}", line(progress))?;
        }
        self.out.flush()
    }

    /// Clears the block, so that what follows begins where it stood.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn finish(&mut self) -> io::Result<()> {
        self.back()?;
        if std::mem::take(&mut self.drawn) {
            self.out.write_all(b"\x1b[J")?;
        }
        self.out.flush()
    }

    fn back(&mut self) -> io::Result<()> {
        if self.drawn { write!(self.out, "\r\x1b[{LINES}A") } else { Ok(()) }
    }
}

impl Course {
    fn add(&mut self, progress: &Progress) {
        let elapsed = progress.elapsed.saturating_sub(self.last.elapsed).as_millis();
        let done = progress.operations.saturating_sub(self.last.operations);
        let per_second = u128::from(done) * 1000 / elapsed.max(1);
        let harmed = progress.harmed.saturating_sub(self.last.harmed);
        push(&mut self.done, COLUMNS, u64::try_from(per_second).unwrap_or(u64::MAX));
        push(&mut self.harmed, COLUMNS, harmed);
        push(&mut self.alive, COLUMNS, u64::try_from(progress.alive).unwrap_or(u64::MAX));
        if harmed > 0 {
            push(&mut self.outbreaks, OUTBREAKS, (progress.elapsed, harmed));
        }
        self.last = *progress;
    }

    fn block(&self) -> [String; LINES] {
        let last = &self.last;
        let newest = self.done.back().copied().unwrap_or_default();
        [
            line(last),
            format!("  ops/s     {} {}", columns(&self.done), rate(newest as f64)),
            format!("  harmed    {} {}", columns(&self.harmed), count(last.harmed)),
            format!("  processes {} {}", columns(&self.alive), last.alive),
            self.gates(),
        ]
    }

    /// What can be said before the end: a harm is one for ever.
    fn gates(&self) -> String {
        let outbreak = |(at, number): &(Duration, u64)| format!("+{number} at {} s", at.as_secs());
        let newest: Vec<_> = self.outbreaks.iter().rev().map(outbreak).collect();
        match newest.as_slice() {
            [] => "  so far nobody is harmed".to_owned(),
            newest => format!("  FAILS: harm {}", newest.join(", ")),
        }
    }
}

fn push<T>(queue: &mut VecDeque<T>, most: usize, value: T) {
    queue.push_back(value);
    if queue.len() > most {
        queue.pop_front();
    }
}

/// A column a value, the newest at the right; nothing is a blank.
fn columns(values: &VecDeque<u64>) -> String {
    let most = values.iter().max().copied().unwrap_or_default().max(1);
    let steps = u128::try_from(HEIGHTS.len() - 1).unwrap_or_default();
    let column = |value: &u64| {
        let height = (u128::from(*value) * steps).div_ceil(u128::from(most));
        let height = usize::try_from(height).unwrap_or_default();
        if *value == 0 { ' ' } else { HEIGHTS.get(height).copied().unwrap_or('█') }
    };
    let drawn: String = values.iter().map(column).collect();
    format!("{drawn:>COLUMNS$}")
}

fn line(progress: &Progress) -> String {
    format!(
        "{:>5.0} s  {} operations, {} harmed  {}, {} sabotaged  {} processes",
        progress.elapsed.as_secs_f64(),
        progress.operations,
        progress.harmed,
        things(usize::try_from(progress.upgrades).unwrap_or(usize::MAX), "upgrade"),
        progress.sabotaged,
        progress.alive
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(terminal: bool) -> String {
        let mut out = Vec::new();
        let mut ticker = Ticker::new(&mut out, terminal);
        for elapsed in (0..=5000).step_by(250).map(Duration::from_millis) {
            let operations = u64::try_from(elapsed.as_millis()).unwrap() * 2;
            let harmed = if elapsed.as_secs() >= 3 { 7 } else { 0 };
            let progress = Progress { elapsed, operations, harmed, ..Progress::default() };
            ticker.tick(&progress).unwrap();
        }
        ticker.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_terminal_gets_one_block_and_a_file_gets_few_lines() {
        let terminal = ticks(true);
        assert_eq!(terminal.matches("\r\x1b[5A").count(), 6);
        assert_eq!(terminal.lines().count(), 6 * LINES + 1);
        assert!(terminal.ends_with("\r\x1b[5A\x1b[J"));
        let file = ticks(false);
        assert_eq!(file.lines().count(), 2);
        assert!(!file.contains('\r') && !file.contains('\x1b'));
    }

    #[test]
    fn harm_is_said_when_it_is_done() {
        let terminal = ticks(true);
        let (before, after) = terminal.split_once("FAILS: harm +7 at 3 s").unwrap();
        assert!(before.contains("so far nobody is harmed") && !after.contains("nobody"));
        assert!(after.contains("▇") || after.contains("█"), "{after}");
        assert!(terminal.contains("2.0k/s"));
    }

    #[test]
    fn a_course_has_a_column_for_each_tick() {
        let drawn = columns(&VecDeque::from([0, 1, 50, 100]));
        assert_eq!(drawn.chars().count(), COLUMNS);
        assert_eq!(drawn.trim_start(), "▂▅█");
    }
}
