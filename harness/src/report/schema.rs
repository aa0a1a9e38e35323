//! What `result.json` looks like, for whoever reads it.

use schemars::generate::SchemaSettings;

use super::model::Report;

/// The JSON schema (draft 2020-12) of `harness/result/1`, made from the very
/// types that are written.
#[must_use]
pub fn schema() -> String {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut schema = settings.into_generator().into_root_schema_for::<Report>();
    schema.insert("$id".to_owned(), "urn:harness:schema:result:1".into());
    schema.insert("title".to_owned(), "harness/result/1".into());
    format!("{:#}\n", schema.to_value())
}
