//! JSON that says what it is before it says anything else, plain or packed.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::StoreError;

/// What every file begins with.
#[derive(Debug, Deserialize)]
struct Head {
    schema: String,
}

/// Writes `value` as JSON that a person can read.
pub(super) fn write_plain(path: &Path, value: &impl Serialize) -> Result<(), StoreError> {
    let written = serde_json::to_vec_pretty(value).map_err(io::Error::from).and_then(|mut text| {
        text.push(b'\n');
        fs::write(path, text)
    });
    written.map_err(|cause| StoreError::Write { path: path.to_owned(), cause })
}

/// Writes `value` as JSON, packed.
pub(super) fn write_packed(path: &Path, value: &impl Serialize) -> Result<(), StoreError> {
    let write = || {
        // Rows are much alike: packing them harder takes thrice the time for a
        // third less.
        let file = GzEncoder::new(File::create(path)?, Compression::fast());
        let mut out = BufWriter::with_capacity(1 << 16, file);
        serde_json::to_writer(&mut out, value)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.finish()?.flush()
    };
    write().map_err(|cause| StoreError::Write { path: path.to_owned(), cause })
}

/// Reads what [`write_plain`] wrote.
pub(super) fn read_plain<T: DeserializeOwned>(
    path: &Path,
    schema: &str,
    wanted: &'static str,
) -> Result<T, StoreError> {
    let text = fs::read(path).map_err(|cause| StoreError::Read { path: path.to_owned(), cause })?;
    parse(path, &text, schema, wanted)
}

/// Reads what [`write_packed`] wrote.
pub(super) fn read_packed<T: DeserializeOwned>(
    path: &Path,
    schema: &str,
    wanted: &'static str,
) -> Result<T, StoreError> {
    let packed =
        fs::read(path).map_err(|cause| StoreError::Read { path: path.to_owned(), cause })?;
    if !packed.starts_with(&[0x1f, 0x8b]) {
        let why = "it is not packed with gzip".to_owned();
        return Err(StoreError::Foreign { path: path.to_owned(), wanted, why });
    }
    let mut text = Vec::new();
    GzDecoder::new(packed.as_slice())
        .read_to_end(&mut text)
        .map_err(|cause| StoreError::Damaged { path: path.to_owned(), cause })?;
    parse(path, &text, schema, wanted)
}

/// The head is read first: of a form that is not known, nothing else can be
/// understood.
fn parse<T: DeserializeOwned>(
    path: &Path,
    text: &[u8],
    schema: &str,
    wanted: &'static str,
) -> Result<T, StoreError> {
    let foreign = |error: serde_json::Error| StoreError::Foreign {
        path: path.to_owned(),
        wanted,
        why: error.to_string(),
    };
    let head: Head = serde_json::from_slice(text).map_err(foreign)?;
    if head.schema != schema {
        return Err(StoreError::Version {
            path: path.to_owned(),
            found: head.schema,
            wanted: schema.to_owned(),
        });
    }
    serde_json::from_slice(text).map_err(foreign)
}
