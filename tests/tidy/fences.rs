//! Fences between modules: floors, foreign crates, purity, features.

use crate::source::{Finding, Source, after_root, has_word};

/// Modules by floor; a module names only lower floors.
const FLOORS: &[(&str, u8)] = &[
    ("model", 0),
    ("codec", 1),
    ("core", 1),
    ("config", 1),
    ("metrics", 1),
    ("telemetry", 1),
    ("clock", 1),
    ("log", 2),
    ("store", 2),
    ("client", 2),
    ("sim", 2),
    ("actor", 3),
    ("api", 4),
    ("node", 5),
    ("cli", 6),
    ("main", 6),
];

/// Foreign crate → module paths that may name it (`a::b` covers everything below).
const CRATES: &[(&str, &[&str])] = &[
    ("actix", &["actor"]),
    ("bincode", &["codec"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("comfy_table", &["cli"]),
    ("crc32c", &["codec", "log"]),
    ("foldhash", &["core::map"]),
    ("futures_util", &["client", "sim", "actor", "api", "cli"]),
    ("getrandom", &["clock"]),
    ("hdrhistogram", &["sim"]),
    ("http_body_util", &["api"]),
    ("hyper", &["api"]),
    ("hyper_util", &["api"]),
    ("indicatif", &["cli"]),
    ("lz4_flex", &["codec"]),
    ("metrics", &["metrics"]),
    ("metrics_exporter_prometheus", &["metrics"]),
    ("metrics_process", &["metrics"]),
    ("rdkafka", &["log::kafka"]),
    ("reqwest", &["client"]),
    ("rust_embed", &["api::assets"]),
    ("serde", ANY),
    ("serde_json", &["codec", "client", "cli", "api::openapi", "api::tests"]),
    ("rustix", &["log", "cli"]),
    ("sha2", &["codec", "api::auth"]),
    ("sled", &["store::sled"]),
    ("thiserror", &["model", "log", "store", "codec", "config", "client", "api", "node"]),
    ("tokio", &["telemetry", "client", "sim", "actor", "api", "node", "cli"]),
    ("toml", &["config"]),
    (
        "tracing",
        &["telemetry", "log", "store", "client", "sim", "actor", "api", "node", "cli", "main"],
    ),
    ("tracing_subscriber", &["telemetry"]),
    ("utoipa_swagger_ui", &["api::documents"]),
    ("warp", &["api"]),
];
/// Vocabulary.
const ANY: &[&str] = &["*"];

fn floor(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

/// No upward or sideways path; inside the crate only `crate::<module>`.
pub(crate) fn floors(file: &Source) -> Vec<Finding> {
    let module = file.module();
    let Some(&own) = module.first().filter(|name| **name != "lib") else { return Vec::new() };
    let Some(mine) = floor(own) else {
        return vec![file.finding(0, format!("module `{own}` has no floor; add it to tests/tidy"))];
    };
    let mut found = Vec::new();
    for (index, line) in file.code.iter().enumerate() {
        for target in after_root(line, "crate") {
            let reason = match floor(target) {
                _ if target == own => continue,
                Some(theirs) if theirs < mine => continue,
                Some(theirs) => format!(
                    "`{own}` (floor {mine}) names `crate::{target}` (floor {theirs}); \
                     a module names only lower floors"
                ),
                None => format!("`crate::{target}`: write `crate::<module>`, never the root"),
            };
            found.push(file.finding(index, reason));
        }
        let supers = line.split("super::").count() - 1;
        if supers >= module.len() && line.contains(&"super::".repeat(module.len())) {
            let reason = "`super` climbs to the crate root; write `crate::<module>`";
            found.push(file.finding(index, reason));
        }
        if own != "main" && !after_root(line, "kwq").is_empty() {
            found.push(file.finding(index, "`kwq::` inside the crate; write `crate::<module>`"));
        }
        if !after_root(line, "core").is_empty() {
            let reason = "bare `core::`; ours is `crate::core`, Rust's own is `std` or `::core`";
            found.push(file.finding(index, reason));
        }
    }
    found
}

/// A foreign crate only in its module. `dependencies`: names from Cargo.toml, `_` for `-`.
pub(crate) fn foreign_crates(file: &Source, dependencies: &[String]) -> Vec<Finding> {
    let module = file.module().join("::");
    if module.is_empty() {
        return Vec::new();
    }
    let text = file.code.join("\n");
    let mut found = Vec::new();
    for name in dependencies {
        let Some((_, allowed)) = CRATES.iter().find(|(krate, _)| krate == name) else { continue };
        let inside =
            |path: &str| path == "*" || module == path || module.starts_with(&format!("{path}::"));
        // `metrics::` may be our own module, if it was imported as such.
        let own = text.contains(&format!("crate::{name}"));
        if own || allowed.iter().any(|path| inside(path)) {
            continue;
        }
        for (index, line) in file.code.iter().enumerate() {
            if !after_root(line, name).is_empty() || has_word(line, &format!("use {name}")) {
                let place = allowed.join(", ");
                let reason =
                    format!("crate `{name}` is named only in `{place}`, not in `{module}`");
                found.push(file.finding(index, reason));
            }
        }
    }
    found
}

/// Every dependency has a line in the table above.
pub(crate) fn listed_crates(dependencies: &[String]) -> Vec<Finding> {
    let listed = |name: &String| CRATES.iter().any(|(krate, _)| krate == name);
    let unlisted = dependencies.iter().filter(|name| !listed(name));
    let finding = |name: &String| Finding {
        path: "Cargo.toml".to_owned(),
        line: 1,
        reason: format!(
            "crate `{name}` has no module in tests/tidy/fences.rs; name the one that may"
        ),
    };
    unlisted.map(finding).collect()
}

/// Names of `[dependencies]`, `_` for `-`.
pub(crate) fn dependencies(manifest: &str) -> Vec<String> {
    let lines = manifest.lines().skip_while(|line| line.trim() != "[dependencies]").skip(1);
    let own = lines.take_while(|line| !line.starts_with('['));
    let name = |line: &str| Some(line.split_once('=')?.0.trim().replace('-', "_"));
    own.filter(|line| !line.trim_start().starts_with('#')).filter_map(name).collect()
}

/// `model` and `core` are pure.
pub(crate) fn purity(file: &Source) -> Vec<Finding> {
    const WORDS: &[&str] = &["async", "await", "unsafe", "Instant", "SystemTime", "RandomState"];
    const STD: &[&str] = &["fs", "net", "thread", "process", "env", "io", "os"];
    const LOGS: &[&str] = &["tracing", "log"];
    let own = file.module().first().copied().unwrap_or_default();
    if !matches!(own, "model" | "core") || file.is_test() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (index, line) in file.code.iter().enumerate() {
        for word in WORDS.iter().filter(|word| has_word(line, word)) {
            found.push(file.finding(index, format!("`{word}` in `{own}`, which is pure")));
        }
        for part in after_root(line, "std") {
            if STD.contains(&part) {
                found.push(file.finding(index, format!("`std::{part}` in `{own}`, which is pure")));
            } else if part == "{" {
                let reason = "`std::{…}` hides its parts from this check; one `use` per module";
                found.push(file.finding(index, reason));
            }
        }
        for name in LOGS.iter().filter(|name| !after_root(line, name).is_empty()) {
            found.push(file.finding(index, format!("`{name}` in `{own}`, which does not log")));
        }
    }
    found
}

/// `cfg(feature)` only on a `mod` line.
pub(crate) fn features(file: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for (index, line) in file.code.iter().enumerate() {
        let about =
            (line.contains("cfg(") || line.contains("cfg_attr(")) && has_word(line, "feature");
        let expression = line.contains("cfg!(") && has_word(line, "feature");
        if expression || (about && !next_item_is_mod(&file.code, index)) {
            let reason = "cfg(feature) stands on `mod` lines only, so that a file is one thing";
            found.push(file.finding(index, reason));
        }
    }
    found
}

fn next_item_is_mod(code: &[String], index: usize) -> bool {
    let after_attribute = code[index].rsplit(']').next().unwrap_or("").trim();
    let rest = code[index + 1..].iter().map(|line| line.trim());
    let mut items = std::iter::once(after_attribute).chain(rest);
    let item = items.find(|line| !line.is_empty() && !line.starts_with("#["));
    item.is_some_and(|line| has_word(line, "mod") && line.ends_with(';'))
}
