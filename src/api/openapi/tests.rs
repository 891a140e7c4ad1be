//! The document is complete: every route, every code, every reference.

use super::*;
use crate::api::route::Row;
use crate::model::reject::Code;
use std::collections::BTreeSet;

/// Method and template of every operation of the document.
fn documented(document: &Value) -> BTreeSet<(String, String)> {
    let paths = document["paths"].as_object().expect("paths");
    let of = |(path, item): (&String, &Value)| {
        let methods = item.as_object().expect("a path item").keys();
        methods.map(|m| (m.to_ascii_uppercase(), path.clone())).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of).collect()
}

fn each_operation(document: &Value, mut look: impl FnMut(&str, &Value)) {
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("a path item") {
            look(&format!("{method} {path}"), operation);
        }
    }
}

#[test]
fn every_route_of_the_table_is_in_the_document_and_the_reverse() {
    let of = |route: &Route| (route.method.to_string(), path_of(route.row.pattern));
    let table: BTreeSet<(String, String)> = routes::table().iter().map(of).collect();
    assert_eq!(documented(&document()), table, "see CONTRIBUTING.md, how to add a route");
    for operation in operations() {
        let rows = routes::table();
        let found = rows.iter().filter(|route| operation.describes(route)).count();
        assert_eq!(found, 1, "{:?} describes no row, or two do", operation.describes(&rows[0]));
    }
}

#[test]
fn operations_have_their_role_security_and_an_id_of_their_own() {
    let document = document();
    let mut ids = BTreeSet::new();
    for Route { method, row: Row { pattern, rule }, .. } in routes::table() {
        let path = &document["paths"][path_of(pattern)];
        let operation = &path[method.as_str().to_ascii_lowercase()];
        let role = operation["x-kwq-role"].as_str().expect("a role");
        assert_eq!(role, role_of(rule.access), "{method} {pattern}");
        assert_eq!(role == "none", operation["security"].is_null(), "{method} {pattern}");
        assert_eq!(rule.whole, operation["x-kwq-scoped"] == false, "{method} {pattern}");
        let id = operation["operationId"].as_str().expect("an id");
        assert!(ids.insert(id.to_owned()), "{id} twice");
        for part in pattern.split('/').filter_map(|p| p.strip_prefix('{')) {
            let named = |p: &Value| p["in"] == "path" && p["name"] == part.trim_end_matches('}');
            let parameters = operation["parameters"].as_array().expect("parameters");
            assert!(parameters.iter().any(named), "{method} {pattern}: {part} is not described");
        }
        assert!(
            operation["responses"]
                .as_object()
                .is_some_and(|r| { r.keys().any(|status| status.starts_with(['2', '3'])) })
        );
    }
}

/// Every reference of a tree.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(target)) = members.get("$ref") {
                found.insert(target.clone());
            }
            members.values().for_each(|v| references(v, found));
        }
        Value::Array(items) => items.iter().for_each(|v| references(v, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_component_is_used() {
    let document = document();
    let mut used = BTreeSet::new();
    references(&document, &mut used);
    let mut there = BTreeSet::new();
    for kind in ["schemas", "parameters", "headers"] {
        let components = document["components"][kind].as_object().expect("components");
        there.extend(components.keys().map(|name| format!("#/components/{kind}/{name}")));
    }
    let dangling: Vec<_> = used.difference(&there).collect();
    assert!(dangling.is_empty(), "{dangling:?}");
    let unused: Vec<_> = there.difference(&used).filter(|r| !r.contains("/headers/")).collect();
    assert!(unused.is_empty(), "{unused:?}");
}

/// Codes that some operation may answer.
fn answered_codes(document: &Value) -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    each_operation(document, |_, operation| {
        for response in operation["responses"].as_object().expect("responses").values() {
            let schema = &response["content"]["application/problem+json"]["schema"];
            let words = schema["properties"]["code"]["enum"].as_array();
            codes.extend(words.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
        }
    });
    codes
}

/// Codes that no operation answers: the path has no operation of this method.
const WITHOUT_OPERATION: [Code; 1] = [Code::MethodNotAllowed];

#[test]
fn every_code_is_in_the_document_and_at_an_operation_if_anything_raises_it() {
    let document = document();
    let words = document["components"]["schemas"]["ErrorCode"]["enum"].clone();
    let all: Vec<&str> = Code::ALL.iter().map(|code| code.word()).collect();
    assert_eq!(words, json!(all));
    let source = source();
    let answered = answered_codes(&document);
    for code in Code::ALL.iter().filter(|code| !WITHOUT_OPERATION.contains(code)) {
        let raised = source.contains(&format!("Code::{code:?}"));
        let described = answered.contains(code.word());
        let what = "described at an operation, raised in the source";
        assert_eq!(described, raised, "{}: {what}", code.word());
    }
}

/// The source but tests, the registry of codes, their titles, clients and this module.
fn source() -> String {
    let mut text = String::new();
    let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder of the source") {
            let path = entry.expect("an entry").path();
            let shown = path.to_string_lossy().into_owned();
            let skipped =
                ["tests", "src/model/reject.rs", "problem.rs", "src/api/openapi", "src/cli"];
            if skipped.iter().any(|part| shown.contains(part)) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                text.push_str(&std::fs::read_to_string(path).expect("a file of the source"));
            }
        }
    }
    text
}

#[test]
fn every_problem_has_a_status_of_its_code_and_a_text() {
    each_operation(&document(), |name, operation| {
        for (status, response) in operation["responses"].as_object().expect("responses") {
            let text = response["description"].as_str().expect("a text");
            assert!(!text.is_empty(), "{name} {status}");
            let problem = response["content"]["application/problem+json"].is_object();
            // Health answers 503 in its own shape.
            assert_eq!(problem, status.as_str() >= "400" && !text_of_health(name, status));
        }
    });
}

fn text_of_health(name: &str, status: &str) -> bool {
    status == "503"
        && (name.contains("health/") || name.contains("/livez") || name.contains("/readyz"))
}

/// HEAD is no operation of its own: a client made of the document has no use for it.
#[test]
fn the_text_names_the_paths_that_answer_head() {
    let words: BTreeSet<&str> = ABOUT.split('`').filter(|word| word.starts_with('/')).collect();
    let headed = routes::table().into_iter().filter(Route::headed);
    for pattern in headed.map(|route| route.row.pattern) {
        let named = words.iter().any(|word| match pattern.strip_prefix(word) {
            Some(rest) => rest.is_empty() || rest.starts_with('/'),
            None => false,
        });
        assert!(named, "HEAD {pattern} is not in {ABOUT}");
    }
}
