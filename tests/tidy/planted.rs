//! Each fence against a planted offence and its honest neighbour: a fence that cannot fail is none.

use crate::source::{Finding, Source};
use crate::{documents, fences, lengths, ui};

type Fence = fn(&Source) -> Vec<Finding>;

/// The fence objects to `bad` once, on the last line, and not to `good`.
#[track_caller]
fn plant(fence: Fence, path: &str, bad: &str, good: &str) {
    let found = fence(&Source::rust(path, bad));
    assert_eq!(found.len(), 1, "{path}: {bad:?} gave {found:?}");
    assert_eq!(found[0].line, bad.lines().count(), "{found:?}");
    let silent = fence(&Source::rust(path, good));
    assert_eq!(silent, [], "{path}: {good:?}");
}

#[test]
fn upward_and_sideways_paths_are_found() {
    let floors = fences::floors;
    plant(floors, "src/model/a.rs", "\nuse crate::codec::x;", "use crate::model::b;");
    plant(floors, "src/core/a.rs", "use crate::codec::x;", "use crate::model::b;");
    plant(floors, "src/log/a.rs", "let x = crate::api::y();", "crate::codec::z(); crate::log::w()");
    plant(floors, "src/api/a.rs", "use crate::KwqHandle;", "use crate::actor::handle::KwqHandle;");
    plant(floors, "src/api/a.rs", "use crate::{actor, log};", "// use crate::{actor}\n");
    plant(floors, "src/api/a.rs", "use super::super::node;", "use super::b; super::c();");
    plant(floors, "src/api.rs", "use super::node;", "let s = \"super::node\";");
    plant(floors, "src/api/a/b.rs", "use super::super::super::x;", "use super::super::c;");
    plant(floors, "src/node.rs", "use kwq::api::x;", "use crate::api::x;");
    plant(floors, "src/api/a.rs", "use core::fmt;", "use ::core::fmt; use crate::core::x;");
    let newcomer = Source::rust("src/newcomer/a.rs", "//! New.");
    assert!(floors(&newcomer)[0].reason.contains("has no floor"));
}

#[test]
fn foreign_crates_out_of_place_are_found() {
    let names = ["sled", "metrics", "serde", "tokio", "hyper"].map(str::to_owned);
    let check = |path: &str, text: &str| {
        let found = fences::foreign_crates(&Source::rust(path, text), &names);
        found.into_iter().map(|f| f.reason).collect::<Vec<_>>()
    };
    let found = check("src/actor/a.rs", "use sled::Db;");
    assert_eq!(found, ["crate `sled` is named only in `store::sled`, not in `actor::a`"]);
    assert_eq!(check("src/store/memory.rs", "sled::open()").len(), 1);
    assert_eq!(check("src/core/a.rs", "#[tokio::test]").len(), 1);
    assert_eq!(check("src/api/a.rs", "metrics::counter!()").len(), 1);
    assert_eq!(check("src/model/a.rs", "use hyper;").len(), 1);
    for (path, text) in [
        ("src/store/sled.rs", "use sled::Db;"),
        ("src/store/sled/pages.rs", "sled::open()"),
        ("src/model/a.rs", "use serde::Serialize;"),
        ("src/api/a.rs", "use crate::metrics;\nmetrics::install()"),
        ("src/model/a.rs", "// sled::Db\nlet text = \"tokio::spawn\";"),
        ("tests/it/a.rs", "use tokio::net;"),
    ] {
        assert_eq!(check(path, text), [""; 0], "{path}");
    }
    let manifest = "[package]\nname = \"x\"\n[dependencies]\na-b = \"1\"\n# c = 2\n\
                    d = { x = 1 }\n[dev]\ne = 1";
    assert_eq!(fences::dependencies(manifest), ["a_b", "d"]);
    assert_eq!(fences::listed_crates(&["unheard_of".to_owned()]).len(), 1);
    assert_eq!(fences::listed_crates(&["serde".to_owned()]), []);
}

#[test]
fn impure_logic_is_found() {
    let purity = fences::purity;
    let good = "use std::collections::BTreeMap; // no Instant here\nlet asynchronous = \"async\";";
    for bad in [
        "async fn f() {}",
        "x.await",
        "use std::fs;",
        "std::env::var(\"X\")",
        "std::thread::sleep(d)",
        "use std::time::Instant;",
        "SystemTime::now()",
        "unsafe { x() }",
        "tracing::info!(\"x\");",
        "use std::{fs, fmt};",
    ] {
        plant(purity, "src/core/a.rs", bad, good);
        plant(purity, "src/model/a/b.rs", bad, good);
    }
    let elsewhere = Source::rust("src/log/a.rs", "use std::fs;");
    assert_eq!(purity(&elsewhere), []);
    let test = Source::rust("src/core/a/tests.rs", "use std::env;");
    assert_eq!(purity(&test), []);
}

#[test]
fn features_inside_a_file_are_found() {
    let good = "#[cfg(feature = \"server\")]\npub mod api;\n#[cfg(test)]\nfn f() {}";
    let features = fences::features;
    plant(features, "src/a.rs", "#[cfg(feature = \"server\")] fn f() {}", good);
    plant(features, "src/a.rs", "if cfg!(feature = \"server\") {}", good);
    plant(features, "src/a.rs", "\n#[cfg(not(feature = \"x\"))]", good);
    let item = "#[cfg(feature = \"server\")]\n#[derive(Debug)]\npub struct X;";
    assert_eq!(features(&Source::rust("src/a.rs", item))[0].line, 1);
}

#[test]
fn long_things_are_found() {
    let long_line = format!("// {}", "ä".repeat(98));
    plant(lengths::lines, "src/a.rs", &long_line, &format!("// {}", "ä".repeat(97)));
    let long_file = "x\n".repeat(501);
    plant(lengths::lines, "src/a.rs", &long_file, &"x\n".repeat(500));
    let function = |lines: usize| format!("fn f(a: [u8; 4]) {{{}}}", "\n".repeat(lines - 1));
    let found = lengths::functions(&Source::rust("src/a.rs", &function(71)));
    assert_eq!((found.len(), found[0].line), (1, 1), "{found:?}");
    assert_eq!(lengths::functions(&Source::rust("src/a.rs", &function(70))), []);
    let bodiless = format!("fn f();\nlet braces = '{{';{}", function(60));
    assert_eq!(lengths::functions(&Source::rust("src/a.rs", &bodiless)), []);
    let nested = "fn short() {\n    fn inner() {}\n}\n".to_owned() + &function(80);
    assert_eq!(lengths::functions(&Source::rust("src/a.rs", &nested))[0].line, 4);
}

#[test]
fn a_file_without_purpose_is_found() {
    plant(lengths::head, "src/a.rs", "use x;", "//! What it is for.\nuse x;");
    plant(lengths::head, "src/a.rs", "/// wrong place", "//! Right place.");
}

#[test]
fn silent_exceptions_are_found() {
    let good = "#[expect(dead_code, reason = \"why\")]\nlet s = \"#[allow(x)]\"; // #[allow(x)]";
    let attributes = lengths::attributes;
    plant(attributes, "src/a.rs", "#[allow(dead_code)]", good);
    plant(attributes, "src/a.rs", "#![allow(dead_code)]", good);
    plant(attributes, "src/a.rs", "\n#[expect(dead_code)]", good);
    let lines = "#[expect(\n    dead_code,\n    reason = \"why\"\n)]\nfn f() {}";
    assert_eq!(attributes(&Source::rust("src/a.rs", lines)), []);
}

#[test]
fn leftovers_are_found() {
    let good = "// A lease ends later (see above); it is not renewed.\nlet x = \"todo!()\";\n\
                /// let x = f();\n// use the words of the field\n";
    let mark = format!("// {}{}: later", "FIX", "ME");
    for bad in
        ["todo!()", "dbg!(x);", "// let x = 5;", "// f(x);", "// #[test]", "// fn f() {", &mark]
    {
        plant(lengths::leftovers, "src/a.rs", bad, good);
    }
}

#[test]
fn missing_and_orphaned_error_pages_are_found() {
    let table = "codes! {\n    A = \"lease_lost\" 409;\n    B = \"purged\" 410;\n}\nlet x = \"y\";";
    let reject = Source::rust("src/model/reject.rs", table);
    let config = Source::rust("src/config/error.rs", "=> \"config_bad\",\n\"config value\"");
    let codes = documents::codes(&reject, Some(&config));
    assert_eq!(codes, ["config_bad", "lease_lost", "purged"]);
    let pages = ["config_bad", "lease_lost", "old"].map(str::to_owned);
    let found = documents::error_pages(&codes, &pages, &["config_bad", "lease_lost", "purged"]);
    let paths: Vec<&str> = found.iter().map(|f| f.path.as_str()).collect();
    assert_eq!(paths, ["docs/errors/purged.md", "docs/errors/old.md"]);
}

#[test]
fn drifted_documents_are_found() {
    let toml = "# head\n\n[log]\n# Where. Path. Since 0.1.0.\ndata-dir = \"./d\"\nmute = 3\n";
    let keys = documents::keys(toml);
    assert_eq!(keys.len(), 2);
    assert_eq!(documents::commented(&keys).len(), 1);
    let table = documents::configuration_table(&keys[..1]);
    assert!(table.ends_with("| `log.data-dir` | `./d` | Where. Path. | 0.1.0 |\n"), "{table}");
    let document =
        |table: &str| format!("# T\n<!-- generated: make docs -->\n{table}<!-- end -->\nx\n");
    assert_eq!(documents::generated("d.md", &document(&table), &table), []);
    assert_eq!(documents::generated("d.md", &document("| old |\n"), &table).len(), 1);
    assert_eq!(documents::generated("d.md", "no marks", &table).len(), 1);
    let names = "declare! {\n    A Gauge Count \"kwq_a\" [\"x\" \"y\"] \"Help a.\";\n    \
                 B Counter Count \"kwq_b_total\" []\n        \"Help b.\";\n}";
    let table = documents::metrics_table(&Source::rust("src/metrics/names.rs", names));
    let rows = "| `kwq_a` | gauge | x, y | Help a. |\n| `kwq_b_total` | counter | – | Help b. |\n";
    assert!(table.ends_with(rows), "{table}");
}

#[test]
fn metrics_that_nobody_declares_are_found() {
    let text = "`rate(kwq_a_total[5m])`\nand `kwq_b > 0`, kwq alone";
    let found = documents::foreign_metrics(text, "| `kwq_a_total` | counter |");
    assert_eq!(found, [(2, "kwq_b".to_owned())]);
}

#[test]
fn paths_in_documents_are_found() {
    let text = "See `src/a.rs` and `docs/errors/<code>.md`, [b](b.md#x), [c](https://x), [d](#e).\n\
                `code`, `tests/t`";
    let found = documents::paths("docs/", text);
    let expected = [(1, "src/a.rs"), (1, "docs/b.md"), (2, "tests/t")];
    assert_eq!(found, expected.map(|(line, path)| (line, path.to_owned())));
}

#[test]
fn declared_and_forgotten_things_are_found() {
    let text = "pub struct A {\n    pub used_ms: u64,\n    pub lost_ms: u64,\n}\nimpl A {\n    \
                pub fn fed(&self) {}\n    pub fn unfed(&self) {}\n    fn own(&self) {}\n}\n";
    let declared = Source::rust("src/config/mod.rs", text);
    let user = Source::rust("src/node.rs", "config.used_ms + a.fed(); // lost_ms\n\"unfed\"");
    let found = documents::unused(&declared, &[&user]);
    let lines: Vec<usize> = found.iter().map(|f| f.line).collect();
    assert_eq!(lines, [3, 7], "{found:?}");
}

#[test]
fn forbidden_user_interface_code_is_found() {
    for bad in [
        "x.innerHTML = y",
        "eval(text)",
        "<a href=\"https://example.org\">",
        "<button onclick=\"f()\">",
        "button.onclick = f;",
        "<p style=\"color:red\">",
        "fetch('http:' + host)",
    ] {
        assert_eq!(ui::file("ui/a.html", bad).len(), 1, "{bad}");
    }
    let good = "const on = 1; if (once === x) {} let only = 3; data-on-x=\"1\"\n\
                const NS = 'http://www.w3.org/2000/svg'; el.addEventListener('a', (e) => f(e))\n\
                .iron { color: red } const json = await r.json(); const position = 3;";
    assert_eq!(ui::file("ui/a.js", good), []);
    assert_eq!(ui::file("ui/a.js", &"x\n".repeat(401)).len(), 1);
    assert_eq!((ui::size(150_001).len(), ui::size(150_000).len()), (1, 0));
}

#[test]
fn the_lexer_tells_code_from_text() {
    let text = "let a = \"x // no\"; // yes\nlet b = r#\"raw \" { \"#; /* in /* deep */ side */ c\n\
                let q = '\\''; let brace = '{'; fn f<'a>(x: &'a str) {}\nlet d = b\"\\\"}\";";
    let file = Source::rust("src/a.rs", text);
    assert_eq!(file.code[0], "let a = \"\"; ");
    assert_eq!(file.comments[0], "// yes");
    assert_eq!(file.code[1], "let b = \"\";  c");
    assert_eq!(file.code[2], "let q = ' '; let brace = ' '; fn f<'a>(x: &'a str) {}");
    assert_eq!(file.code[3], "let d = b\"\";");
    let strings: Vec<&str> = file.strings.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(strings, ["x // no", "raw \" { ", "\\\"}"]);
}
