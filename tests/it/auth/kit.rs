//! A server with a tokens file, and calls under a name.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::{Answer, Folder, Req, Server, kwq_lines};

pub(super) const ROLES: [&str; 6] = ["submit", "work", "view", "payload", "operate", "admin"];

/// Tokens by name, and the file they stand in.
pub(super) struct Ring {
    dir: Folder,
    secrets: BTreeMap<String, String>,
    lines: Vec<String>,
}

impl Ring {
    pub(super) fn new() -> Self {
        Self { dir: Folder::new("kwq-tokens"), secrets: BTreeMap::new(), lines: Vec::new() }
    }

    /// Adds a token, made by the command line.
    pub(super) fn add(mut self, name: &str, roles: &[&str], more: &[&str]) -> Self {
        let mut args = vec!["token", "create", "--name", name];
        roles.iter().for_each(|role| args.extend(["--role", role]));
        args.extend(more);
        let made = kwq_lines(self.dir.path(), &args).remove(0);
        self.secrets.insert(name.to_owned(), made["token"].as_str().expect("a token").to_owned());
        self.lines.push(made["line"].to_string());
        self
    }

    /// Adds a token whose line was changed by hand.
    pub(super) fn add_edited(self, name: &str, edit: impl Fn(&mut Value)) -> Self {
        let mut ring = self.add(name, &["view"], &[]);
        let line = ring.lines.pop().expect("added just now");
        let mut line: Value = serde_json::from_str(&line).expect("JSON");
        edit(&mut line);
        ring.lines.push(line.to_string());
        ring
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.path().join("tokens.jsonl")
    }

    pub(super) fn secret(&self, name: &str) -> &str {
        &self.secrets[name]
    }

    /// Changes the line of a token.
    pub(super) fn edit(&mut self, name: &str, edit: impl Fn(&mut Value)) {
        for line in &mut self.lines {
            let mut parsed: Value = serde_json::from_str(line).expect("JSON");
            if parsed["name"] == name {
                edit(&mut parsed);
                *line = parsed.to_string();
            }
        }
    }

    /// Takes a token out.
    pub(super) fn forget(&mut self, name: &str) {
        self.lines.retain(|line| !line.contains(&format!("\"name\":\"{name}\"")));
    }

    /// Writes the file; gives the setting that names it.
    pub(super) fn write(&self) -> String {
        let text: String = self.lines.iter().map(|line| format!("{line}\n")).collect();
        self.write_text(&text)
    }

    pub(super) fn write_text(&self, text: &str) -> String {
        std::fs::write(self.path(), text).expect("writes the tokens file");
        format!("auth.tokens-file={}", self.path().display())
    }
}

/// A server and its tokens.
pub(super) struct Guarded {
    pub(super) server: Server,
    pub(super) ring: Ring,
}

impl Guarded {
    pub(super) fn start(ring: Ring) -> Self {
        let setting = ring.write();
        Self { server: Server::start(&[&setting, "log.partitions=2"]), ring }
    }

    /// One call under the token of this name.
    #[track_caller]
    pub(super) fn call(&self, name: &str, req: Req) -> Answer {
        self.server.call(&bearer(req, self.ring.secret(name)))
    }

    #[track_caller]
    pub(super) fn get(&self, name: &str, path: &str) -> Answer {
        self.call(name, Req::new("GET", path))
    }

    #[track_caller]
    pub(super) fn post(&self, name: &str, path: &str, body: &Value) -> Answer {
        self.call(name, Req::new("POST", path).json(body))
    }
}

/// A request with a token.
pub(super) fn bearer(req: Req, token: &str) -> Req {
    req.header("Authorization", &format!("Bearer {token}"))
}
