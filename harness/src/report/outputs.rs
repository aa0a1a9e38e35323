//! The files that a run leaves behind.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

use super::hgrm::{file_name, hgrm};
use super::hlog::Latencies;
use super::junit::junit;
use super::markdown::markdown;
use super::model::Report;
use super::prometheus::prometheus;
use super::{html, json, text};

const RESULT: &str = "result.json";
const TEXT: &str = "report.txt";
const HTML: &str = "report.html";
const JUNIT: &str = "junit.xml";
const SUMMARY: &str = "summary.md";
const METRICS: &str = "metrics.prom";
const HLOG: &str = "latency.hlog";

/// The files, open and empty until there is something to write.
#[derive(Debug)]
pub struct Outputs {
    dir: PathBuf,
    files: BTreeMap<String, File>,
}

impl Outputs {
    /// Makes the directory and every file that is written for a run with these
    /// populations. To be called before the run: a path that cannot be written
    /// then costs a second, not the run, and what an earlier run left is not
    /// taken for the report of this one.
    ///
    /// # Errors
    ///
    /// When one of them cannot be made.
    pub fn open<'a>(
        dir: &Path,
        populations: impl IntoIterator<Item = &'a str>,
    ) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let fixed = [RESULT, TEXT, HTML, JUNIT, SUMMARY, METRICS, HLOG].map(str::to_owned);
        let names = fixed.into_iter().chain(populations.into_iter().map(file_name));
        let files = names.map(|name| {
            let file = File::create(dir.join(&name))?;
            Ok((name, file))
        });
        Ok(Self { dir: dir.to_owned(), files: files.collect::<io::Result<_>>()? })
    }

    /// Where the files are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes them all but the recording.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn write(&mut self, report: &Report, latencies: &Latencies) -> io::Result<()> {
        self.put(RESULT, json::render(report)?.as_bytes())?;
        // It does not say where it lies: judged again elsewhere, it is the same.
        self.put(TEXT, text::render(report, None).as_bytes())?;
        self.put(HTML, html::render(report)?.as_bytes())?;
        let junit = junit(&[report]).map_err(io::Error::other)?;
        self.put(JUNIT, junit.as_bytes())?;
        self.put(SUMMARY, markdown(report).as_bytes())?;
        self.put(METRICS, prometheus(report).as_bytes())?;
        let mut log = Vec::new();
        latencies.write(&mut log)?;
        self.put(HLOG, &log)?;
        hgrm(report).iter().try_for_each(|(name, text)| self.put(name, text))
    }

    /// Takes the place of what the file held before.
    fn put(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        let mut file = match self.files.remove(name) {
            Some(file) => file,
            None => File::create(self.dir.join(name))?,
        };
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(content)?;
        self.files.insert(name.to_owned(), file);
        Ok(())
    }
}
