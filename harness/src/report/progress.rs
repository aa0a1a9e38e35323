//! The line that says how far a run has come.

use std::io::{self, Write};
use std::time::Duration;

use crate::event::Progress;

/// Writes progress now and then, as the writer's reader can take it.
#[derive(Debug)]
pub struct Ticker<W> {
    out: W,
    /// Whether the line can be written over.
    terminal: bool,
    /// When the run will have reached its next line.
    due: Duration,
}

impl<W: Write> Ticker<W> {
    /// Writes to `out`: one line that is written over each second if it is a
    /// terminal, otherwise a plain line every five seconds.
    pub fn new(out: W, terminal: bool) -> Self {
        Self { out, terminal, due: Duration::ZERO }
    }

    /// Writes the line if it is due.
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
            write!(self.out, "\r\x1b[K{}", line(progress))?;
        } else {
            self.due = progress.elapsed + Duration::from_secs(5);
            writeln!(self.out, "{}", line(progress))?;
        }
        self.out.flush()
    }

    /// Clears the line, so that what follows begins in an empty one.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn finish(&mut self) -> io::Result<()> {
        if self.terminal {
            self.out.write_all(b"\r\x1b[K")?;
        }
        self.out.flush()
    }
}

fn line(progress: &Progress) -> String {
    format!(
        "{:>5.0} s  {} operations, {} harmed  {} upgrades, {} sabotaged  {} processes",
        progress.elapsed.as_secs_f64(),
        progress.operations,
        progress.harmed,
        progress.upgrades,
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
            ticker.tick(&Progress { elapsed, ..Progress::default() }).unwrap();
        }
        ticker.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_terminal_gets_one_line_and_a_file_gets_few() {
        let terminal = ticks(true);
        assert_eq!(terminal.matches('\r').count(), 7);
        assert!(!terminal.contains('\n'));
        let file = ticks(false);
        assert_eq!(file.lines().count(), 2);
        assert!(!file.contains('\r'));
    }
}
