//! The shape of the sources: rules that a compiler does not know.
//!
//! Each rule is a function from a text to what is wrong with it, and each is
//! shown to be able to fail. Lengths are read from the layout, which rustfmt
//! guarantees.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::Visit;

/// Lines of a file, its unit tests not counted.
const FILE_LINES: usize = 500;
/// Lines of a function, from its first to its closing brace.
const FUNCTION_LINES: usize = 70;
/// Names that say nothing of what is in a file, so that everything ends up there.
const VAGUE: [&str; 6] = ["util", "utils", "helpers", "common", "types", "misc"];
/// The only place where `unsafe` is argued.
const UNSAFE_PLACE: &str = "ecdysis/src/sys/";

/// A source file of one crate.
struct Source {
    /// Relative to the workspace.
    path: String,
    text: String,
    /// Its module path in the crate: empty for the root.
    modules: Vec<String>,
}

#[test]
fn modules_import_only_from_those_above() {
    for crate_dir in crates() {
        let sources = sources(&crate_dir);
        let roots = sources.iter().filter(|source| source.modules.is_empty());
        let order: Vec<_> = roots.flat_map(|root| declared(&root.text)).collect();
        assert!(!order.is_empty(), "{} declares no module", crate_dir.display());
        let inner = sources.iter().filter(|source| !source.modules.is_empty());
        report(inner.map(|source| (source, upward(&order, &source.modules, &source.text))));
    }
}

#[test]
fn files_are_short() {
    everywhere(|source| too_long(&source.text));
}

#[test]
fn functions_are_short() {
    everywhere(|source| long_functions(&source.text));
}

#[test]
fn names_say_what_is_inside() {
    everywhere(|source| vague(&source.path));
}

#[test]
fn unsafe_stays_in_its_place() {
    everywhere(|source| {
        let elsewhere = !source.path.starts_with(UNSAFE_PLACE);
        if elsewhere { unsafe_uses(&source.text) } else { Vec::new() }
    });
}

fn crates() -> Vec<PathBuf> {
    let workspace = workspace();
    let all =
        ["ci/systemd-claims", "ecdysis", "echo-server", "harness"].map(|name| workspace.join(name));
    all.into_iter().filter(|dir| dir.join("src").is_dir()).collect()
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every source file below a crate's `src`, but for files of unit tests.
fn sources(crate_dir: &Path) -> Vec<Source> {
    let (src, workspace) = (crate_dir.join("src"), workspace());
    let (mut found, mut dirs) = (Vec::new(), vec![src.clone()]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs")
                && path.file_stem().is_some_and(|stem| stem != "tests")
            {
                found.push(Source {
                    path: path.strip_prefix(&workspace).unwrap().display().to_string(),
                    text: fs::read_to_string(&path).unwrap(),
                    modules: module_path(path.strip_prefix(&src).unwrap()),
                });
            }
        }
    }
    found
}

/// `a/b.rs` is the module `a::b`, `a/mod.rs` is `a`; `lib.rs` is a root, and so
/// is each program in `bin`.
fn module_path(file: &Path) -> Vec<String> {
    let parts = file.with_extension("");
    let mut modules: Vec<_> = parts.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if matches!(modules.as_slice(), [bin, _] if bin == "bin") {
        modules.clear();
    } else if modules.last().is_some_and(|last| last == "mod")
        || matches!(modules.as_slice(), [root] if root == "lib" || root == "main")
    {
        modules.pop();
    }
    modules
}

fn everywhere(rule: impl Fn(&Source) -> Vec<String>) {
    let all: Vec<_> = crates().iter().flat_map(|dir| sources(dir)).collect();
    assert!(all.len() > 20, "only {} source files were found", all.len());
    report(all.iter().map(|source| (source, rule(source))));
}

fn report<'a>(findings: impl Iterator<Item = (&'a Source, Vec<String>)>) {
    let lines: Vec<_> = findings
        .flat_map(|(source, wrong)| {
            wrong.into_iter().map(move |what| format!("{}: {what}", source.path))
        })
        .collect();
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

/// The modules a crate's root declares, in order; those of tests left out.
fn declared(root: &str) -> Vec<String> {
    /// Only the root's own modules: it does not descend.
    struct Declared(Vec<String>);
    impl Visit<'_> for Declared {
        fn visit_item_mod(&mut self, module: &syn::ItemMod) {
            if !is_test(&module.attrs) {
                self.0.push(module.ident.to_string());
            }
        }
    }
    let mut declared = Declared(Vec::new());
    declared.visit_file(&syn::parse_file(root).unwrap());
    declared.0
}

fn is_test(attrs: &[syn::Attribute]) -> bool {
    attrs.iter().any(|attr| {
        let condition = attr.meta.require_list().map(|list| list.tokens.to_string());
        attr.path().is_ident("test")
            || attr.path().is_ident("cfg") && condition.is_ok_and(|condition| condition == "test")
    })
}

/// What `text`, the module `modules`, uses of modules that are not above its own.
fn upward(order: &[String], modules: &[String], text: &str) -> Vec<String> {
    let mut uses = Uses { modules: modules.to_vec(), tops: BTreeSet::new() };
    uses.visit_file(&syn::parse_file(text).unwrap());
    let Some(own) = order.iter().position(|module| *module == modules[0]) else {
        return vec![format!("the crate's root does not declare `{}`", modules[0])];
    };
    let wrong = |top: &String| match order.iter().position(|module| module == top) {
        Some(theirs) if theirs <= own => None,
        Some(_) => Some(format!("`{}` uses `{top}`, which is not above it", modules[0])),
        None => Some(format!("`crate::{top}` is not a module: import it where it is defined")),
    };
    uses.tops.iter().filter_map(wrong).collect()
}

/// Collects the names right below the crate's root that a file mentions.
struct Uses {
    modules: Vec<String>,
    tops: BTreeSet<String>,
}

impl Uses {
    /// Notes `path` if it leads through the root: by `crate`, or by as many
    /// `super` as this module is deep.
    fn note(&mut self, path: &[String]) {
        let supers = path.iter().take_while(|part| *part == "super").count();
        let top = match path.first().map(String::as_str) {
            Some("crate") => path.get(1),
            Some("super") if supers == self.modules.len() => path.get(supers),
            _ => None,
        };
        self.tops.extend(top.cloned());
    }

    fn note_tree(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.note_tree(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) => self.note(&with(&name.ident)),
            syn::UseTree::Rename(rename) => self.note(&with(&rename.ident)),
            syn::UseTree::Glob(_) => self.note(&[before, &["*".to_owned()]].concat()),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.note_tree(before, tree));
            }
        }
    }
}

impl Visit<'_> for Uses {
    fn visit_item_use(&mut self, item: &syn::ItemUse) {
        if !is_test(&item.attrs) {
            self.note_tree(&[], &item.tree);
        }
    }

    fn visit_item_mod(&mut self, item: &syn::ItemMod) {
        if !is_test(&item.attrs) {
            self.modules.push(item.ident.to_string());
            syn::visit::visit_item_mod(self, item);
            self.modules.pop();
        }
    }

    fn visit_item_fn(&mut self, item: &syn::ItemFn) {
        if !is_test(&item.attrs) {
            syn::visit::visit_item_fn(self, item);
        }
    }

    fn visit_path(&mut self, path: &syn::Path) {
        let parts: Vec<_> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        self.note(&parts);
        syn::visit::visit_path(self, path);
    }

    /// A macro's arguments are only tokens, so they are searched as words.
    fn visit_macro(&mut self, item: &syn::Macro) {
        for (at, _) in words(&item.tokens.to_string(), "crate") {
            let text = item.tokens.to_string();
            let after = text[at + "crate".len()..].trim_start();
            if let Some(path) = after.strip_prefix("::") {
                let ident = |c: char| c.is_alphanumeric() || c == '_';
                let top: String = path.trim_start().chars().take_while(|c| ident(*c)).collect();
                self.tops.insert(top);
            }
        }
        syn::visit::visit_macro(self, item);
    }
}

/// Where `word` stands in `text` as a word of its own.
fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    let inside = |c: char| c.is_alphanumeric() || c == '_' || c == '"';
    text.match_indices(word).filter(move |(at, _)| {
        !text[..*at].ends_with(inside) && !text[at + word.len()..].starts_with(inside)
    })
}

fn too_long(text: &str) -> Vec<String> {
    let lines = without_tests(text).lines().count();
    let wrong = format!("{lines} lines without tests; {FILE_LINES} are enough");
    if lines > FILE_LINES { vec![wrong] } else { Vec::new() }
}

fn without_tests(text: &str) -> &str {
    text.find("\n#[cfg(test)]\nmod tests {").map_or(text, |at| &text[..=at])
}

/// The functions that are too long, tests included: a brace closes a function
/// if it stands alone, as far in as the line that began it.
fn long_functions(text: &str) -> Vec<String> {
    let lines: Vec<_> = text.lines().collect();
    let mut wrong = Vec::new();
    for (first, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = &line[..line.len() - line.trim_start().len()];
        let closing = format!("{indent}}}");
        let declaration_ends = |line: &str| line.starts_with(indent) && line.ends_with(';');
        let end = lines[first..].iter().position(|line| *line == closing);
        let no_body = lines[first..]
            .iter()
            .position(|line| declaration_ends(line) && !line[indent.len()..].starts_with(' '));
        let one_line = line.ends_with('}') || no_body.is_some_and(|at| Some(at) < end);
        let length = end.map_or(1, |end| end + 1);
        if !one_line && length > FUNCTION_LINES {
            wrong.push(format!("`{name}` has {length} lines; {FUNCTION_LINES} are enough"));
        }
    }
    wrong
}

/// The name of the function that begins in this line.
fn function_name(line: &str) -> Option<&str> {
    let mut rest = line.trim_start();
    while let Some((word, after)) = rest.split_once(' ') {
        if word == "fn" {
            return after.split(['(', '<']).next();
        }
        let qualifier = word.starts_with("pub")
            || word == "in"
            || word.ends_with(')')
            || ["const", "async", "unsafe", "extern", "\"C\""].contains(&word);
        if !qualifier {
            return None;
        }
        rest = after;
    }
    None
}

fn vague(path: &str) -> Vec<String> {
    let parts = Path::new(path).with_extension("");
    let names = parts.iter().filter_map(|part| part.to_str());
    names
        .filter(|name| VAGUE.contains(name))
        .map(|name| format!("`{name}` does not say what is inside"))
        .collect()
}

fn unsafe_uses(text: &str) -> Vec<String> {
    /// Every token that makes something unsafe has its own visit.
    struct Found(usize);
    impl Visit<'_> for Found {
        fn visit_expr_unsafe(&mut self, block: &syn::ExprUnsafe) {
            self.0 += 1;
            syn::visit::visit_expr_unsafe(self, block);
        }
        fn visit_signature(&mut self, signature: &syn::Signature) {
            self.0 += usize::from(signature.unsafety.is_some());
            syn::visit::visit_signature(self, signature);
        }
        fn visit_item_impl(&mut self, item: &syn::ItemImpl) {
            self.0 += usize::from(item.unsafety.is_some());
            syn::visit::visit_item_impl(self, item);
        }
        fn visit_item_trait(&mut self, item: &syn::ItemTrait) {
            self.0 += usize::from(item.unsafety.is_some());
            syn::visit::visit_item_trait(self, item);
        }
        fn visit_item_foreign_mod(&mut self, item: &syn::ItemForeignMod) {
            self.0 += 1;
            syn::visit::visit_item_foreign_mod(self, item);
        }
        fn visit_attribute(&mut self, attr: &syn::Attribute) {
            if let syn::Meta::List(list) = &attr.meta {
                self.0 += usize::from(list.path.is_ident("unsafe"));
            }
        }
        fn visit_macro(&mut self, item: &syn::Macro) {
            self.0 += words(&item.tokens.to_string(), "unsafe").count();
        }
    }
    let mut found = Found(0);
    found.visit_file(&syn::parse_file(text).unwrap());
    let wrong = format!("`unsafe` {} times; its place is {UNSAFE_PLACE}", found.0);
    if found.0 > 0 { vec![wrong] } else { Vec::new() }
}

mod rules_can_fail {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn layering() {
        let order = declared(
            "mod low;\nmod own;\n#[cfg(feature = \"x\")]\npub mod high;\n#[cfg(test)]\nmod tests;",
        );
        assert_eq!(order, ["low", "own", "high"]);
        let findings = |module: &[&str], text| upward(&order, &names(module), text).len();
        for fine in [
            "use crate::low::Thing;",
            "use crate::{low, own::sub};",
            "use super::low;",
            "use high::Other;",
            "#[cfg(test)] mod tests { use crate::high::Thing; }",
        ] {
            assert_eq!(findings(&["own"], fine), 0, "{fine}");
        }
        for wrong in [
            "use crate::high::Thing;",
            "use crate::{low::Thing, high};",
            "use crate::{low::Thing, high::{self as other}};",
            "use super::high;",
            "use crate::high as renamed;",
            "use crate::*;",
            "use crate::Reexported;",
            "fn f() -> crate::high::Thing { g() }",
            "fn f() { crate::high::g(); }",
            "fn f() { select! { x = crate::high::g() => {} } }",
            "mod inner { use super::super::high; }",
        ] {
            assert_eq!(findings(&["own"], wrong), 1, "{wrong}");
        }
        assert_eq!(findings(&["own", "sub"], "use super::high;"), 0);
        assert_eq!(findings(&["own", "sub"], "use super::super::high;"), 1);
        assert_eq!(findings(&["stray"], ""), 1);
    }

    #[test]
    fn paths_of_files() {
        let path = |file| module_path(Path::new(file)).join("::");
        assert_eq!(path("lib.rs"), "");
        assert_eq!(path("main.rs"), "");
        assert_eq!(path("bin/a.rs"), "");
        assert_eq!(path("a.rs"), "a");
        assert_eq!(path("a/mod.rs"), "a");
        assert_eq!(path("a/b.rs"), "a::b");
    }

    #[test]
    fn length_of_files() {
        let code = "//\n".repeat(FILE_LINES);
        assert_eq!(too_long(&code), names(&[]));
        assert_eq!(too_long(&format!("{code}#[cfg(test)]\nmod tests {{\n}}\n")), names(&[]));
        assert_eq!(too_long(&format!("{code}//\n")).len(), 1);
    }

    #[test]
    fn length_of_functions() {
        let function = |head: &str, lines: usize| {
            format!("    {head} {{\n{}    }}\n", "        work();\n".repeat(lines - 2))
        };
        for head in ["fn f()", "pub(super) async fn f<T>()", "pub(in crate::a) const fn f()"] {
            assert_eq!(long_functions(&function(head, FUNCTION_LINES)), names(&[]), "{head}");
            assert_eq!(long_functions(&function(head, FUNCTION_LINES + 1)).len(), 1, "{head}");
        }
        let declared = format!("    fn f();\n{}", function("impl X", FUNCTION_LINES + 1));
        assert_eq!(long_functions(&declared), names(&[]));
    }

    #[test]
    fn names_of_files() {
        assert_eq!(vague("harness/src/clock.rs"), names(&[]));
        assert_eq!(vague("harness/src/utils.rs").len(), 1);
        assert_eq!(vague("harness/src/common/mod.rs").len(), 1);
    }

    #[test]
    fn place_of_unsafe() {
        assert_eq!(unsafe_uses("//! unsafe\nfn f() { g(\"unsafe\") }"), names(&[]));
        for wrong in [
            "fn f() { unsafe { g() } }",
            "unsafe fn f() {}",
            "unsafe impl Send for X {}",
            "unsafe trait X {}",
            "unsafe extern \"C\" { fn f(); }",
            "#[unsafe(no_mangle)] fn f() {}",
            "fn f() { select! { x = unsafe { g() } => {} } }",
        ] {
            assert_eq!(unsafe_uses(wrong).len(), 1, "{wrong}");
        }
    }
}
