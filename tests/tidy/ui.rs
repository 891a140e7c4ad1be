//! Rules of `ui/`: DOM only by element and text nodes, nothing from elsewhere.

#![expect(clippy::string_slice, reason = "every index comes from a search in the same text")]

use crate::source::{Finding, is_word};

/// Bytes of all files, raw.
const UI_BYTES_MAX: usize = 150_000;
/// Lines of a file.
const UI_LINES_MAX: usize = 400;
/// Name of a vocabulary, never fetched; SVG elements cannot be made without it.
const SVG_NAMESPACE: &str = "http://www.w3.org/2000/svg";

/// One file.
pub(crate) fn file(path: &str, text: &str) -> Vec<Finding> {
    const WORDS: &[(&str, &str)] = &[
        ("innerHTML", "text becomes markup"),
        ("outerHTML", "text becomes markup"),
        ("insertAdjacentHTML", "text becomes markup"),
        ("document.write", "text becomes markup"),
        ("eval(", "text becomes code"),
        ("new Function", "text becomes code"),
        ("style=", "refused by the content security policy"),
        ("http:", "nothing comes from elsewhere"),
        ("https:", "nothing comes from elsewhere"),
    ];
    let finding =
        |line: usize, reason: String| Finding { path: path.to_owned(), line: line + 1, reason };
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.replace(SVG_NAMESPACE, "");
        for (word, why) in WORDS.iter().filter(|(word, _)| line.contains(word)) {
            found.push(finding(index, format!("`{word}`: {why}")));
        }
        if has_handler(&line) {
            found.push(finding(index, "`on…=`: use addEventListener".to_owned()));
        }
    }
    let lines = text.lines().count();
    if lines > UI_LINES_MAX {
        found.push(finding(UI_LINES_MAX, format!("{lines} lines, at most {UI_LINES_MAX}")));
    }
    found
}

/// All files together.
pub(crate) fn size(bytes: usize) -> Vec<Finding> {
    let reason = format!("{bytes} bytes in all, at most {UI_BYTES_MAX}");
    let finding = Finding { path: "ui".to_owned(), line: 1, reason };
    if bytes > UI_BYTES_MAX { vec![finding] } else { Vec::new() }
}

/// ` onclick=`, `.onclick = `; `on` must begin a word of letters that ends in `=`.
fn has_handler(line: &str) -> bool {
    line.match_indices("on").any(|(at, _)| {
        let name_end = line[at..].find(|c: char| !c.is_ascii_lowercase()).unwrap_or(0);
        let after = line[at + name_end..].trim_start();
        let assigned =
            after.starts_with('=') && !after.starts_with("==") && !after.starts_with("=>");
        let begins = !line[..at].ends_with(|c| is_word(c) || c == '-');
        let declared = ["let ", "const ", "var "].iter().any(|word| line[..at].ends_with(word));
        name_end > 3 && assigned && begins && !declared
    })
}
