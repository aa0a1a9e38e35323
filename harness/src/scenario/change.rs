//! Single values of a scenario, changed without touching its file.

use std::ops::Range;
use std::str::FromStr;

use toml::de::{DeTable, DeValue};
use toml_edit::{DocumentMut, Item, Key, Table, Value};

/// How a change is written.
const FORM: &str = "a key and a value, like phases.storm=30s or load.churn.rate=2000";

/// One value put in the place of another.
#[derive(Clone, Debug)]
pub struct Change {
    /// What asked for it, for messages.
    flag: String,
    path: Vec<String>,
    value: Value,
}

impl Change {
    /// A change that a flag of its own asks for.
    #[must_use]
    pub fn of(flag: String, path: &[&str], value: &str) -> Self {
        let path = path.iter().map(|key| (*key).to_owned()).collect();
        Self { flag, path, value: Value::from(value) }
    }
}

impl PartialEq for Change {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path && self.value.to_string() == other.value.to_string()
    }
}

/// `KEY=VALUE`. The value is read as TOML if it is any, and as a text otherwise.
impl FromStr for Change {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = |why: &str| format!("`{text}` {why}; write {FORM}");
        let (key, value) = text.split_once('=').ok_or_else(|| refused("has no `=`"))?;
        let path = Key::parse(key.trim()).map_err(|_| refused("does not begin with a key"))?;
        let value = value.trim();
        Ok(Self {
            flag: format!("--set {text}"),
            path: path.iter().map(|key| key.get().to_owned()).collect(),
            value: value.parse().unwrap_or_else(|_| Value::from(value)),
        })
    }
}

/// A change that leads nowhere.
#[derive(Debug)]
pub(super) struct Nowhere {
    pub(super) flag: String,
    pub(super) message: String,
}

/// The text of a scenario with `changes` made. A text that is no TOML stays as it
/// is: whoever reads it next says why.
pub(super) fn apply(source: &str, changes: &[Change]) -> Result<String, Nowhere> {
    let Ok(mut document) = source.parse::<DocumentMut>() else { return Ok(source.to_owned()) };
    for change in changes {
        put(document.as_item_mut(), &change.path, &change.value)
            .map_err(|message| Nowhere { flag: change.flag.clone(), message })?;
    }
    Ok(document.to_string())
}

fn put(item: &mut Item, path: &[String], value: &Value) -> Result<(), String> {
    let [key, rest @ ..] = path else { return Err("no key is named".to_owned()) };
    if let Some(tables) = item.as_array_of_tables_mut() {
        let names: Vec<String> = tables.iter().map(name).collect();
        let place = place(key, &names)?;
        let table = tables.get_mut(place).ok_or_else(|| missing(key, &names))?;
        return put_into(table, rest, value);
    }
    let kind = item.type_name();
    let table = item
        .as_table_like_mut()
        .ok_or_else(|| format!("`{key}` is below a value ({kind}), and only a section has keys"))?;
    put_into(table, path, value)
}

fn put_into(
    table: &mut dyn toml_edit::TableLike,
    path: &[String],
    value: &Value,
) -> Result<(), String> {
    match path {
        [] => Err("it names a whole section; name one of its keys".to_owned()),
        [key] => {
            let old = table.get(key);
            if old.is_some_and(|old| old.is_table() || old.is_array_of_tables()) {
                return Err(format!("`{key}` is a whole section; name one of its keys"));
            }
            table.insert(key, Item::Value(value.clone()));
            Ok(())
        }
        [key, rest @ ..] => {
            if table.get(key).is_none() {
                table.insert(key, Item::Table(Table::new()));
            }
            let inner = table.get_mut(key).ok_or_else(|| format!("there is no `{key}`"))?;
            put(inner, rest, value)
        }
    }
}

fn name(table: &Table) -> String {
    table.get("name").and_then(Item::as_str).unwrap_or_default().to_owned()
}

/// One of several sections of the same kind: by its name, or by its number from 0.
fn place(key: &str, names: &[String]) -> Result<usize, String> {
    let named = names.iter().position(|name| name == key);
    named.or_else(|| key.parse().ok()).ok_or_else(|| missing(key, names))
}

fn missing(key: &str, names: &[String]) -> String {
    format!("there is no `{key}` among them; there are: {} (or 0, 1, …)", names.join(", "))
}

/// The change in whose key or value the mistake at `span` is.
pub(super) fn blamed<'a>(
    source: &str,
    changes: &'a [Change],
    span: &Range<usize>,
) -> Option<&'a str> {
    let document = DeTable::parse(source).ok()?;
    let table = document.get_ref();
    let hit = |change: &&Change| {
        found(table, &change.path)
            .is_some_and(|place| place.start <= span.start && span.end <= place.end)
    };
    changes.iter().rev().find(hit).map(|change| change.flag.as_str())
}

/// From the beginning of a key to the end of its value.
fn found(table: &DeTable<'_>, path: &[String]) -> Option<Range<usize>> {
    let [key, rest @ ..] = path else { return None };
    let (written, value) = table.iter().find(|(written, _)| written.get_ref() == key)?;
    if rest.is_empty() {
        return Some(written.span().start..value.span().end);
    }
    match value.get_ref() {
        DeValue::Table(inner) => found(inner, rest),
        DeValue::Array(all) => {
            let [key, rest @ ..] = rest else { return None };
            let names: Vec<String> = all
                .iter()
                .map(|one| {
                    let name = one.get_ref().get("name");
                    name.and_then(|name| name.get_ref().as_str()).unwrap_or_default().to_owned()
                })
                .collect();
            let one = all.get(place(key, &names).ok()?)?;
            found(one.get_ref().as_table()?, rest)
        }
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "# first\nname = \"s\"\n[phases]\nstorm = \"3s\" # long\n\
                          [[load]]\nname = \"a\"\nrate = 1\n[[load]]\nname = \"b\"\nrate = 2\n";

    fn changed(text: &str) -> Result<String, String> {
        let change = text.parse()?;
        apply(SOURCE, &[change]).map_err(|nowhere| nowhere.message)
    }

    #[test]
    fn one_value_is_changed_and_the_rest_is_kept() {
        for (text, old, new) in [
            ("phases.storm=30s", "storm = \"3s\" # long", "storm = \"30s\""),
            ("load.b.rate=7", "rate = 2", "rate = 7"),
            ("load.0.rate=\"6k/s\"", "rate = 1", "rate = \"6k/s\""),
            ("phases.settle=1s", "# long\n", "# long\nsettle = \"1s\"\n"),
            ("coverage.connections=5", "rate = 2\n", "rate = 2\n\n[coverage]\nconnections = 5\n"),
        ] {
            let changed = changed(text).unwrap();
            let expected = SOURCE.replace(old, new);
            let bare = |text: &str| text.replace(" # long", "").replace('\n', "");
            assert_eq!(bare(&changed), bare(&expected), "{text}");
        }
    }

    #[test]
    fn a_change_that_leads_nowhere_is_refused() {
        for (text, part) in [
            ("storm", "has no `=`"),
            ("=1", "begin with a key"),
            ("load.c.rate=1", "a, b"),
            ("load.2.rate=1", "a, b"),
            ("load.a=1", "whole section"),
            ("phases=1", "whole section"),
            ("name.first=x", "below a value"),
        ] {
            let message = changed(text).unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn a_mistake_is_blamed_on_the_change_it_is_in() {
        let changes: Vec<Change> =
            ["load.b.rate=0", "phases.storm=x"].map(|text| text.parse().unwrap()).to_vec();
        let source = apply(SOURCE, &changes).unwrap();
        let at = |what: &str| {
            let start = source.find(what).unwrap();
            start..start + what.len()
        };
        assert_eq!(blamed(&source, &changes, &at("0")), Some("--set load.b.rate=0"));
        assert_eq!(blamed(&source, &changes, &at("storm")), Some("--set phases.storm=x"));
        assert_eq!(blamed(&source, &changes, &at("\"a\"")), None);
    }
}
