//! A Rust file split into code, comments and strings, line by line. No parser, only a lexer.

#![expect(clippy::string_slice, reason = "every index comes from a search in the same text")]

/// What a fence objects to.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// Path inside the repository.
    pub(crate) path: String,
    /// Line, from 1.
    pub(crate) line: usize,
    /// Rule and what to do.
    pub(crate) reason: String,
}

/// A file of the repository.
pub(crate) struct Source {
    /// Path inside the repository, with `/`.
    pub(crate) path: String,
    /// Lines as they are.
    pub(crate) raw: Vec<String>,
    /// Lines without comments; texts of strings and characters are blanked.
    pub(crate) code: Vec<String>,
    /// Comment text of each line, with its slashes.
    pub(crate) comments: Vec<String>,
    /// String literals with the index of the line they begin on.
    pub(crate) strings: Vec<(usize, String)>,
}

impl Source {
    /// Reads a Rust file.
    pub(crate) fn rust(path: &str, text: &str) -> Self {
        let raw: Vec<String> = text.lines().map(str::to_owned).collect();
        let mut lexer = Lexer {
            chars: text.chars().collect(),
            at: 0,
            code: vec![String::new()],
            comments: vec![String::new()],
            strings: Vec::new(),
        };
        lexer.run();
        let Lexer { code, comments, strings, .. } = lexer;
        Self { path: path.to_owned(), raw, code, comments, strings }
    }

    /// A finding on a line index.
    pub(crate) fn finding(&self, index: usize, reason: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line: index + 1, reason: reason.into() }
    }

    /// `src/a/b.rs` is `[a, b]`, `src/a/mod.rs` is `[a]`; empty outside `src/`.
    pub(crate) fn module(&self) -> Vec<&str> {
        let inside = self.path.strip_prefix("src/").and_then(|p| p.strip_suffix(".rs"));
        let mut parts: Vec<&str> = inside.map(|p| p.split('/').collect()).unwrap_or_default();
        if parts.last() == Some(&"mod") {
            parts.pop();
        }
        parts
    }

    /// Unit tests and everything outside `src/`.
    pub(crate) fn is_test(&self) -> bool {
        let module = self.module();
        module.is_empty() || module.iter().any(|p| *p == "tests" || p.ends_with("_tests"))
    }
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    code: Vec<String>,
    comments: Vec<String>,
    strings: Vec<(usize, String)>,
}

impl Lexer {
    fn run(&mut self) {
        while let Some(c) = self.peek(0) {
            match c {
                '/' if self.peek(1) == Some('/') => self.line_comment(),
                '/' if self.peek(1) == Some('*') => self.block_comment(),
                '"' => self.string(),
                'r' if self.raw_hashes().is_some() => self.raw_string(),
                '\'' => self.quote(),
                _ => {
                    self.take(true, false);
                }
            }
        }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    /// Consumes a character; line ends begin a new line everywhere.
    fn take(&mut self, code: bool, comment: bool) -> char {
        let c = self.chars[self.at];
        self.at += 1;
        if c == '\n' {
            self.code.push(String::new());
            self.comments.push(String::new());
        } else if code {
            self.last_code().push(c);
        } else if comment {
            self.comments.last_mut().expect("one line is always there").push(c);
        }
        c
    }

    fn last_code(&mut self) -> &mut String {
        self.code.last_mut().expect("one line is always there")
    }

    fn line_comment(&mut self) {
        while self.peek(0).is_some_and(|c| c != '\n') {
            self.take(false, true);
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0_usize;
        while let Some(c) = self.peek(0) {
            let pair = (c, self.peek(1));
            if pair == ('/', Some('*')) {
                depth += 1;
                self.take(false, true);
            } else if pair == ('*', Some('/')) {
                depth -= 1;
                self.take(false, true);
            }
            self.take(false, true);
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) {
        let (line, mut text) = (self.code.len() - 1, String::new());
        self.take(true, false);
        while let Some(c) = self.peek(0) {
            if c == '"' {
                self.take(true, false);
                break;
            }
            text.push(self.take(false, false));
            if c == '\\' && self.peek(0).is_some() {
                text.push(self.take(false, false));
            }
        }
        self.strings.push((line, text));
    }

    /// `r"`, `r#"`, `br#"`: number of `#`.
    fn raw_hashes(&self) -> Option<usize> {
        let before = self.at.checked_sub(1).and_then(|i| self.chars.get(i)).copied();
        if before.is_some_and(|c| is_word(c) && c != 'b') {
            return None;
        }
        let hashes = (1..).take_while(|i| self.peek(*i) == Some('#')).count();
        (self.peek(hashes + 1) == Some('"')).then_some(hashes)
    }

    fn raw_string(&mut self) {
        let hashes = self.raw_hashes().expect("the caller looked");
        let (line, mut text) = (self.code.len() - 1, String::new());
        self.at += hashes + 2;
        self.last_code().push('"');
        while let Some(c) = self.peek(0) {
            if c == '"' && (1..=hashes).all(|i| self.peek(i) == Some('#')) {
                self.at += hashes + 1;
                break;
            }
            text.push(self.take(false, false));
        }
        self.last_code().push('"');
        self.strings.push((line, text));
    }

    /// A character literal is blanked, a lifetime stays.
    fn quote(&mut self) {
        let escaped = self.peek(1) == Some('\\');
        if !escaped && self.peek(2) != Some('\'') {
            self.take(true, false);
            return;
        }
        self.at += if escaped { 3 } else { 2 };
        while self.peek(0).is_some_and(|c| c != '\'') {
            self.at += 1;
        }
        self.at += 1;
        self.last_code().push_str("' '");
    }
}

/// Part of an identifier.
pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether the identifier occurs in the line.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let after = line[at + word.len()..].chars().next();
        !line[..at].ends_with(is_word) && !after.is_some_and(is_word)
    })
}

/// What follows each `root::` in the line: an identifier, `{` or `*`. `a::root::` does not count.
pub(crate) fn after_root<'a>(line: &'a str, root: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    for (at, _) in line.match_indices(root) {
        let before = &line[..at];
        let Some(rest) = line[at + root.len()..].strip_prefix("::") else { continue };
        if before.ends_with(|c| is_word(c) || c == ':') {
            continue;
        }
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        found.push(if end == 0 { rest.get(..1).unwrap_or("") } else { &rest[..end] });
    }
    found
}
