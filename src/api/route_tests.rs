//! The document of the routes is what the table says.

use super::*;
use crate::api::routes;
use std::collections::BTreeSet;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/roles.md");
const BEGIN: &str = "<!-- generated: make docs -->\n";
const END: &str = "<!-- end -->\n";

fn table() -> String {
    let mut out = String::from(
        "| Method | Path | Role | In the audit trail as | Token with scopes |\n\
         |---|---|---|---|---|\n",
    );
    for Route { method, row, .. } in routes::table() {
        let role = crate::api::openapi::role_of(row.rule.access);
        let audited = row.rule.audited.unwrap_or("–");
        let scoped = if row.rule.whole { "403" } else { "yes" };
        out.push_str(&format!(
            "| {method} | `{}` | {role} | {audited} | {scoped} |\n",
            row.pattern
        ));
    }
    out
}

#[test]
fn the_document_of_roles_is_the_table() {
    let text = std::fs::read_to_string(PATH).expect("docs/roles.md");
    let (before, rest) = text.split_once(BEGIN).expect("the mark of the beginning");
    let (_, after) = rest.split_once(END).expect("the mark of the end");
    let made = format!("{before}{BEGIN}{}{END}{after}", table());
    if std::env::var_os("KWQ_TIDY_WRITE").is_some() {
        std::fs::write(PATH, made).expect("writes docs/roles.md");
        return;
    }
    assert!(made == text, "docs/roles.md has drifted from the table; run `make docs`");
}

#[test]
fn every_mutating_row_is_audited_under_a_name_of_its_own_unless_a_worker_calls_it_all_day() {
    const WORKERS: [&str; 7] = [
        "/kwq/consume",
        "/kwq/start",
        "/kwq/complete",
        "/kwq/fail",
        "/kwq/release",
        "/kwq/heartbeat",
        "/kwq/updateTask",
    ];
    let mut names = BTreeSet::new();
    for Route { method, row, .. } in routes::table() {
        let mutating = method != Method::GET && !WORKERS.contains(&row.pattern);
        let audited = row.rule.audited;
        let seed = row.pattern.starts_with("/kwq/simulate/");
        assert_eq!(audited.is_some(), mutating || seed, "{method} {}", row.pattern);
        assert!(audited.is_none_or(|name| names.insert(name)), "{audited:?} twice");
    }
}

#[test]
fn nothing_but_health_documents_and_the_page_is_open() {
    for Route { method, row, .. } in routes::table() {
        let open =
            ["/kwq/health/", "/livez", "/readyz", "/ui", "/docs/errors/", "/openapi.", "/swagger"];
        let open = row.pattern == "/" || open.iter().any(|p| row.pattern.starts_with(p));
        assert_eq!(row.rule.access == Access::Open, open, "{method} {}", row.pattern);
    }
}
