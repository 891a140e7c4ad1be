//! Shape of a file: lengths, head comment, attributes, leftovers.

#![expect(clippy::string_slice, reason = "every index comes from a search in the same text")]

use crate::source::{Finding, Source, has_word, is_word};

/// Lines of a function, from `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;
/// Lines of a file.
const FILE_LINES_MAX: usize = 500;
/// Characters of a line.
const LINE_CHARS_MAX: usize = 100;

/// Files and lines.
pub(crate) fn lines(file: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    if file.raw.len() > FILE_LINES_MAX {
        let reason = format!("{} lines; a file has at most {FILE_LINES_MAX}", file.raw.len());
        found.push(file.finding(FILE_LINES_MAX, reason));
    }
    for (index, line) in file.raw.iter().enumerate() {
        let chars = line.chars().count();
        if chars > LINE_CHARS_MAX {
            let reason = format!("{chars} characters; a line has at most {LINE_CHARS_MAX}");
            found.push(file.finding(index, reason));
        }
    }
    found
}

/// Functions.
pub(crate) fn functions(file: &Source) -> Vec<Finding> {
    let text = file.code.join("\n");
    let mut found = Vec::new();
    for (at, _) in text.match_indices("fn ") {
        let named = text[at + 3..].starts_with(is_word);
        if text[..at].ends_with(is_word) || !named {
            continue;
        }
        let Some(length) = body_lines(&text[at..]) else { continue };
        if length > FUNCTION_LINES_MAX {
            let name: String = text[at + 3..].chars().take_while(|c| is_word(*c)).collect();
            let reason =
                format!("function `{name}` has {length} lines; at most {FUNCTION_LINES_MAX}");
            found.push(file.finding(text[..at].matches('\n').count(), reason));
        }
    }
    found
}

/// Lines from the start of `text` to the brace that closes the first body; `None` without body.
fn body_lines(text: &str) -> Option<usize> {
    let (mut round, mut curly, mut line) = (0_i32, 0_i32, 1);
    for c in text.chars() {
        match c {
            '\n' => line += 1,
            '(' | '[' => round += 1,
            ')' | ']' => round -= 1,
            ';' if round == 0 && curly == 0 => return None,
            '{' => curly += 1,
            '}' if curly <= 1 => return Some(line),
            '}' => curly -= 1,
            _ => {}
        }
    }
    None
}

/// The file opens with its purpose.
pub(crate) fn head(file: &Source) -> Vec<Finding> {
    if file.raw.first().is_some_and(|line| line.starts_with("//! ")) {
        return Vec::new();
    }
    vec![file.finding(0, "a file opens with `//!`: its purpose, promise and must-nots")]
}

/// No `allow`; an `expect` gives its reason.
pub(crate) fn attributes(file: &Source) -> Vec<Finding> {
    let text = file.code.join("\n");
    let line_of = |at: usize| text[..at].matches('\n').count();
    let mut found = Vec::new();
    for opening in ["#[allow", "#![allow"] {
        for (at, _) in text.match_indices(opening) {
            let reason = "`allow` is silent for ever; write `#[expect(lint, reason = \"…\")]`";
            found.push(file.finding(line_of(at), reason));
        }
    }
    for opening in ["#[expect(", "#![expect("] {
        for (at, _) in text.match_indices(opening) {
            let attribute = text[at..].split_once(")]").map_or("", |(inside, _)| inside);
            if !has_word(attribute, "reason") {
                found.push(file.finding(line_of(at), "`expect` without `reason = \"…\"`"));
            }
        }
    }
    found
}

/// Nothing unfinished, nothing commented out.
pub(crate) fn leftovers(file: &Source) -> Vec<Finding> {
    const MACROS: &[&str] = &["todo!", "unimplemented!", "dbg!"];
    // In two halves, so that this line does not find itself.
    let marks = ["TO", "FIX", "XX", "HA"].iter().zip(["DO", "ME", "X", "CK"]);
    let marks: Vec<String> = marks.map(|(a, b)| format!("{a}{b}")).collect();
    let mut found = Vec::new();
    for (index, line) in file.code.iter().enumerate() {
        for name in MACROS.iter().filter(|name| line.contains(**name)) {
            found.push(file.finding(index, format!("`{name}` is unfinished work")));
        }
    }
    for (index, comment) in file.comments.iter().enumerate() {
        if let Some(mark) = marks.iter().find(|mark| has_word(comment, mark)) {
            found.push(file.finding(index, format!("`{mark}`: do it, or open an issue")));
        }
        if is_code(comment) {
            found.push(file.finding(index, "commented-out code; the history keeps it"));
        }
    }
    found
}

/// Whether a plain comment reads like Rust.
fn is_code(comment: &str) -> bool {
    const OPENINGS: &[&str] = &["let ", "use ", "fn ", "pub ", "mod ", "impl ", "return ", "#["];
    let Some(text) = comment.trim().strip_prefix("//") else { return false };
    if text.starts_with(['/', '!']) {
        return false;
    }
    let text = text.trim();
    let closed = text.ends_with([';', '{', '}']);
    let statement = text.ends_with(");") || text.ends_with("?;") || text.ends_with("!();");
    statement
        || (closed && OPENINGS.iter().any(|opening| text.starts_with(opening)))
        || (text.starts_with("#[") && text.ends_with(']'))
}
