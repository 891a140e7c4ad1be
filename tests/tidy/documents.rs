//! Documents against code: error codes, configuration keys, metrics. Two of them are generated.

use crate::source::{Finding, Source, has_word, is_word};

/// Codes of refusals in `src/model/reject.rs` and of the configuration in `src/config/error.rs`.
pub(crate) fn codes(reject: &Source, config: Option<&Source>) -> Vec<String> {
    let table = |(line, word): &(usize, String)| {
        let code = reject.code[*line].trim();
        let status = code.trim_end_matches(';').rsplit(' ').next().unwrap_or("");
        let is_row = code.ends_with(';') && status.len() == 3 && status.parse::<u16>().is_ok();
        is_row.then(|| word.clone())
    };
    let mut found: Vec<String> = reject.strings.iter().filter_map(table).collect();
    let own = config.iter().flat_map(|file| file.strings.iter().map(|(_, word)| word));
    found.extend(own.filter(|word| is_code(word)).cloned());
    found.sort();
    found.dedup();
    found
}

fn is_code(word: &str) -> bool {
    word.starts_with("config_") && word.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

/// Each code has a page; each page has a code that some string of the sources names.
pub(crate) fn error_pages(codes: &[String], pages: &[String], strings: &[&str]) -> Vec<Finding> {
    let finding = |path: String, reason: &str| Finding { path, line: 1, reason: reason.to_owned() };
    let page = |code: &str| format!("docs/errors/{code}.md");
    let missing = codes.iter().filter(|code| !pages.contains(code));
    let missing = missing.map(|code| finding(page(code), "a code without a page: write it"));
    let orphan = pages.iter().filter(|page| !strings.contains(&page.as_str()));
    let orphan =
        orphan.map(|code| finding(page(code), "a page whose code does not exist: delete it"));
    missing.chain(orphan).collect()
}

/// A key of `config/kwq.toml`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// Dotted.
    pub(crate) name: String,
    /// As written.
    pub(crate) default: String,
    /// Comment in front of it.
    pub(crate) meaning: String,
}

/// Reads the commented file.
pub(crate) fn keys(toml: &str) -> Vec<Key> {
    let (mut section, mut comment, mut keys) = ("", String::new(), Vec::new());
    for line in toml.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
            comment.clear();
        } else if let Some(text) = line.strip_prefix("# ") {
            comment = format!("{comment} {text}").trim().to_owned();
        } else if let Some((key, default)) = line.split_once(" = ") {
            let (name, meaning) = (format!("{section}.{key}"), std::mem::take(&mut comment));
            keys.push(Key { name, default: default.to_owned(), meaning });
        } else {
            comment.clear();
        }
    }
    keys
}

/// Each key says what it means and since when.
pub(crate) fn commented(keys: &[Key]) -> Vec<Finding> {
    let silent = keys.iter().filter(|key| !key.meaning.contains("Since "));
    let finding = |key: &Key| Finding {
        path: "config/kwq.toml".to_owned(),
        line: 1,
        reason: format!("`{}` has no comment that ends in `Since X.Y.Z.`", key.name),
    };
    silent.map(finding).collect()
}

/// The table of `docs/configuration.md`.
pub(crate) fn configuration_table(keys: &[Key]) -> String {
    let row = |key: &Key| {
        let (meaning, since) = key.meaning.rsplit_once(" Since ").unwrap_or((&key.meaning, ""));
        let default = key.default.trim_matches('"');
        let default = if default.is_empty() { "–".to_owned() } else { format!("`{default}`") };
        let since = since.trim_end_matches('.');
        format!("| `{}` | {default} | {} | {since} |\n", key.name, meaning.replace('|', "\\|"))
    };
    let head = "| Key | Default | Meaning | Since |\n|---|---|---|---|\n";
    std::iter::once(head.to_owned()).chain(keys.iter().map(row)).collect()
}

/// The table of `docs/metrics.md`, from the declarations in `src/metrics/names.rs`.
pub(crate) fn metrics_table(names: &Source) -> String {
    let mut out = "| Name | Type | Labels | Meaning |\n|---|---|---|---|\n".to_owned();
    let mut strings = names.strings.iter().peekable();
    while let Some((line, name)) = strings.next() {
        if !name.starts_with("kwq_") {
            continue;
        }
        let kind = names.code[*line].split_whitespace().nth(1).unwrap_or("").to_lowercase();
        // Labels stand in brackets on the line of the name, the help is the next string after them.
        let (_, bracket) = names.code[*line].split_once('[').unwrap_or_default();
        let count = bracket.split(']').next().unwrap_or("").matches('"').count() / 2;
        let labels: Vec<&str> = strings.by_ref().take(count).map(|(_, l)| l.as_str()).collect();
        let help = strings.next().map_or("", |(_, help)| help.as_str());
        let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
        out.push_str(&format!("| `{name}` | {kind} | {labels} | {help} |\n"));
    }
    out
}

/// Metrics that a text names and nobody declares, with their lines. `declared` is the table.
pub(crate) fn foreign_metrics(text: &str, declared: &str) -> Vec<(usize, String)> {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for (line, row) in (1..).zip(text.lines()) {
        let words =
            row.split(|c| !part(c)).filter(|word| word.len() > 4 && word.starts_with("kwq_"));
        let unknown = words.filter(|word| !declared.contains(&format!("`{word}`")));
        found.extend(unknown.map(|word| (line, word.to_owned())));
    }
    found
}

/// Public fields and methods of `declared` that no file of `users` names.
///
/// A configuration value that is resolved and a metric that is declared are promises: somebody must
/// read the one and feed the other.
pub(crate) fn unused(declared: &Source, users: &[&Source]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (index, line) in declared.code.iter().enumerate() {
        let Some(item) = line.strip_prefix("    pub ") else { continue };
        let name = item.strip_prefix("fn ").unwrap_or(item);
        let name: String = name.chars().take_while(|c| is_word(*c)).collect();
        let member =
            item.starts_with("fn ") || item.strip_prefix(&name).unwrap_or("").starts_with(':');
        let used = |file: &&Source| file.code.iter().any(|line| has_word(line, &name));
        if member && !users.iter().any(used) {
            let reason =
                format!("`{name}` is declared and nothing outside uses it; wire it or drop it");
            found.push(declared.finding(index, reason));
        }
    }
    found
}

/// Paths of this repository that a document names: in code marks, and as targets of links.
/// Each with its line; a target is relative to `folder`, the folder of the document.
pub(crate) fn paths(folder: &str, document: &str) -> Vec<(usize, String)> {
    const TOPS: &[&str] = &["src/", "tests/", "docs/", "config/", "examples/", "benches/", "ui/"];
    let mut found = Vec::new();
    for (index, line) in document.lines().enumerate() {
        let marked = line.split('`').skip(1).step_by(2);
        let plain = |text: &&str| !text.contains(['<', '{', '*', '…', ' ']);
        let ours = marked.filter(|text| TOPS.iter().any(|top| text.starts_with(top)));
        found.extend(ours.filter(plain).map(|text| (index + 1, text.to_owned())));
        for target in line.split("](").skip(1) {
            let target = target.split([')', '#']).next().unwrap_or("");
            if !target.is_empty() && !target.contains("://") {
                found.push((index + 1, format!("{folder}{target}")));
            }
        }
    }
    found
}

/// `document` with what stands between the two marks replaced by `table`.
pub(crate) fn with_table(document: &str, table: &str) -> Option<String> {
    const BEGIN: &str = "<!-- generated: make docs -->\n";
    const END: &str = "<!-- end -->\n";
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{table}{END}{after}"))
}

/// The document holds exactly the generated table.
pub(crate) fn generated(path: &str, document: &str, table: &str) -> Vec<Finding> {
    let reason = match with_table(document, table) {
        Some(expected) if expected == document => return Vec::new(),
        Some(_) => "has drifted from the code; run `make docs`",
        None => "lacks the marks between which `make docs` writes",
    };
    vec![Finding { path: path.to_owned(), line: 1, reason: reason.to_owned() }]
}
