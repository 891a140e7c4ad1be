//! Repository tests: the fences of the source tree. Text only, no dependency, below one second.
//!
//! Each rule is a pure function over a file and is itself tested against a planted offence in
//! `tidy/planted.rs`. `KWQ_TIDY_WRITE=1` (`make docs`) writes the generated tables instead.

#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/fences.rs"]
mod fences;
#[path = "tidy/lengths.rs"]
mod lengths;
#[path = "tidy/planted.rs"]
mod planted;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/ui.rs"]
mod ui;

use source::{Finding, Source};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Files below a folder with one of the endings, as (path in the repository, text), sorted.
/// A folder that does not exist has none.
fn files(folder: &str, endings: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("the tree can be listed").path();
            let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
            if path.is_dir() {
                folders.push(path);
            } else if endings.contains(&ending) {
                let name = path.strip_prefix(root()).expect("below the root").to_str();
                let text = fs::read_to_string(&path).expect("sources are UTF-8");
                found.push((name.expect("paths are UTF-8").to_owned(), text));
            }
        }
    }
    found.sort();
    found
}

fn rust() -> Vec<Source> {
    let folders = ["src", "tests", "benches", "examples"];
    let all = folders.iter().flat_map(|folder| files(folder, &["rs"]));
    all.map(|(path, text)| Source::rust(&path, &text)).collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn assert_clean(mut findings: Vec<Finding>) {
    findings.sort();
    let lines = findings.iter().map(|f| format!("  {}:{}: {}", f.path, f.line, f.reason));
    let text = lines.collect::<Vec<_>>().join("\n");
    assert!(findings.is_empty(), "{} findings\n{text}\n", findings.len());
}

fn check(fence: impl Fn(&Source) -> Vec<Finding>) {
    let sources = rust();
    assert!(sources.iter().any(|file| file.path == "src/lib.rs"), "the tree was not found");
    assert_clean(sources.iter().flat_map(fence).collect());
}

#[test]
fn modules_name_only_lower_floors() {
    check(fences::floors);
}

#[test]
fn foreign_crates_are_named_in_one_module() {
    let dependencies = fences::dependencies(&read("Cargo.toml"));
    assert!(dependencies.len() > 5, "Cargo.toml was not understood: {dependencies:?}");
    assert_clean(fences::listed_crates(&dependencies));
    check(|file| fences::foreign_crates(file, &dependencies));
}

#[test]
fn model_and_core_are_pure() {
    check(fences::purity);
}

#[test]
fn features_switch_whole_modules() {
    check(fences::features);
}

#[test]
fn files_and_lines_are_short() {
    check(lengths::lines);
}

#[test]
fn functions_are_short() {
    check(lengths::functions);
}

#[test]
fn every_file_opens_with_its_purpose() {
    check(lengths::head);
}

#[test]
fn exceptions_give_a_reason() {
    check(lengths::attributes);
}

#[test]
fn nothing_is_left_over() {
    check(lengths::leftovers);
}

#[test]
fn every_error_code_has_its_page() {
    let folder = root().join("docs/errors");
    if !folder.exists() {
        return;
    }
    let sources: Vec<Source> =
        files("src", &["rs"]).iter().map(|(path, text)| Source::rust(path, text)).collect();
    let by_path = |path: &str| sources.iter().find(|file| file.path == path);
    let reject = by_path("src/model/reject.rs").expect("refusals have a file");
    let codes = documents::codes(reject, by_path("src/config/error.rs"));
    assert!(codes.len() > 40, "the table of refusals was not understood: {codes:?}");
    let stem = |(path, _): (String, String)| {
        let name = Path::new(&path).file_stem().and_then(|name| name.to_str());
        name.expect("a page has a name").to_owned()
    };
    let pages: Vec<String> = files("docs/errors", &["md"]).into_iter().map(stem).collect();
    let own = sources.iter().flat_map(|file| &file.strings).map(|(_, text)| text.as_str());
    let strings: Vec<&str> = own.collect();
    assert_clean(documents::error_pages(&codes, &pages, &strings));
}

/// Compares a generated table, or writes it when asked to.
fn generated(path: &str, table: &str) {
    let document = read(path);
    if std::env::var_os("KWQ_TIDY_WRITE").is_some() {
        let written = documents::with_table(&document, table).expect("the document has its marks");
        fs::write(root().join(path), written).expect("documents can be written");
    } else {
        assert_clean(documents::generated(path, &document, table));
    }
}

#[test]
fn every_configuration_key_is_documented() {
    let keys = documents::keys(&read("config/kwq.toml"));
    assert!(keys.len() > 40, "config/kwq.toml was not understood: {keys:?}");
    assert_clean(documents::commented(&keys));
    generated("docs/configuration.md", &documents::configuration_table(&keys));
}

#[test]
fn every_metric_is_documented() {
    let path = "src/metrics/names.rs";
    let table = documents::metrics_table(&Source::rust(path, &read(path)));
    assert!(table.lines().count() > 30, "the declarations were not understood:\n{table}");
    generated("docs/metrics.md", &table);
}

#[test]
fn documents_name_what_exists() {
    let mut documents = files("docs", &["md"]);
    for name in ["README", "ARCHITECTURE", "CONTRIBUTING", "SECURITY", "CHANGELOG"] {
        documents.push((format!("{name}.md"), read(&format!("{name}.md"))));
    }
    let names = "src/metrics/names.rs";
    let metrics = documents::metrics_table(&Source::rust(names, &read(names)));
    let mut found = Vec::new();
    for (path, text) in documents {
        for (line, name) in documents::foreign_metrics(&text, &metrics) {
            let reason = format!("names the metric `{name}`, which nobody declares");
            found.push(Finding { path: path.clone(), line, reason });
        }
        let folder =
            path.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
        for (line, target) in documents::paths(&folder, &text) {
            if !root().join(&target).exists() {
                let reason = format!("names `{target}`, which does not exist");
                found.push(Finding { path: path.clone(), line, reason });
            }
        }
    }
    assert_clean(found);
}

#[test]
fn every_value_is_read_and_every_metric_fed() {
    let sources = rust();
    let inside = |folder: &str| {
        let users = sources.iter().filter(|file| file.path.starts_with("src/") && !file.is_test());
        users.filter(|file| file.module().first() != Some(&folder)).collect::<Vec<_>>()
    };
    let declared = [
        ("config", "src/config/mod.rs"),
        ("metrics", "src/metrics.rs"),
        ("metrics", "src/metrics/record.rs"),
    ];
    let mut found = Vec::new();
    for (folder, path) in declared {
        let file = sources.iter().find(|file| file.path == path).expect("the file exists");
        found.extend(documents::unused(file, &inside(folder)));
    }
    assert_clean(found);
}

#[test]
fn the_user_interface_keeps_its_rules() {
    let all = files("ui", &["html", "js", "css", "svg"]);
    let bytes = all.iter().map(|(_, text)| text.len()).sum();
    let each = all.iter().flat_map(|(path, text)| ui::file(path, text));
    assert_clean(each.chain(ui::size(bytes)).collect());
}
