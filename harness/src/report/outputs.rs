//! The files that a run leaves behind.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::hgrm::Latencies;
use super::model::Report;
use super::{json, text};

const RESULT: &str = "result.json";

/// A directory that is known to be writable.
#[derive(Debug)]
pub struct Outputs {
    dir: PathBuf,
}

impl Outputs {
    /// Makes the directory and an empty `result.json` in it. To be called before
    /// the run: a path that cannot be written then costs a second, not the run.
    ///
    /// # Errors
    ///
    /// When either cannot be made.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        File::create(dir.join(RESULT))?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// Where the files are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes `result.json`, `report.txt` and one `.hgrm` per population.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn write(&self, report: &Report, latencies: &[Latencies]) -> io::Result<()> {
        fs::write(self.dir.join(RESULT), json::render(report)?)?;
        // It does not say where it lies: judged again elsewhere, it is the same.
        fs::write(self.dir.join("report.txt"), text::render(report, None))?;
        for population in latencies {
            let mut file = File::create(self.dir.join(population.file_name()))?;
            population.write(&mut file)?;
        }
        Ok(())
    }
}
