//! The document and the handlers know the same query parameters: each word that stands in the
//! source of a handler is tried at every operation.

use crate::api::tests::{Seen, Server, server, usual};
use serde_json::Value;
use std::collections::BTreeSet;

/// A path that fits the template and names nothing that is there.
fn example(path: &str) -> String {
    let part = |part: &str| match part {
        "{p}" => "9".to_owned(),
        "{waitSec}" => "0".to_owned(),
        part if part.starts_with('{') => "openapi-x".to_owned(),
        part => part.to_owned(),
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// Answers to a call with this query; a submit is tried with each kind of body.
fn answers(server: &Server, method: &str, path: &str, query: &str) -> Vec<Seen> {
    let method = method.to_ascii_uppercase();
    let target = format!("{}?{query}", example(path));
    if method == "GET" {
        return vec![server.call(&method, &target, "", "")];
    }
    let mut seen = vec![server.json(&method, &target, "{}")];
    if path.ends_with("/submit") || path.ends_with("/{job}/tasks") {
        seen.push(server.json(&method, &target, "[]"));
        seen.push(server.call(&method, &target, "Content-Type: application/x-ndjson\r\n", ""));
    }
    seen
}

/// False if every kind of call refuses the parameter as unknown.
fn knows(server: &Server, method: &str, path: &str, parameter: &str) -> bool {
    let unknown = |seen: &Seen| {
        let body: Value = serde_json::from_str(&seen.body).unwrap_or_default();
        body["code"] == "unknown_field" && body["field"] == parameter
    };
    !answers(server, method, path, &format!("{parameter}=")).iter().all(unknown)
}

/// Words in double quotes in the source of the handlers, between `query(` or a constant and `]`.
fn words_of_queries() -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/api");
    for entry in std::fs::read_dir(folder).expect("the folder of the handlers") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            continue;
        }
        let text = std::fs::read_to_string(path).expect("a file of the source");
        for list in text.split("&[").skip(1).filter_map(|rest| rest.split(']').next()) {
            let quoted = list.split('"').skip(1).step_by(2);
            let name = |w: &&str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_alphanumeric());
            words.extend(quoted.filter(name).map(str::to_owned));
        }
    }
    words
}

/// Names of the query parameters of an operation but `lenient`.
fn described(operation: &Value) -> BTreeSet<String> {
    let parameters = operation["parameters"].as_array().expect("parameters");
    let own = parameters.iter().filter(|p| p["in"] == "query").map(|p| p["name"].as_str());
    let shared =
        parameters.iter().filter_map(|p| match p["$ref"].as_str()?.rsplit('/').next()? {
            "Limit" => Some("limit"),
            "Cursor" => Some("cursor"),
            "Fresh" => Some("fresh"),
            _ => None,
        });
    own.flatten().chain(shared).map(str::to_owned).collect()
}

#[test]
fn the_document_and_the_routes_know_the_same_query_parameters() {
    let (server, document) = (server(usual()), super::document());
    let words = words_of_queries();
    assert!(words.contains("onError") && words.contains("tagAny"), "{words:?}");
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("a path item") {
            // Files ignore a query; the simulator is off here and refuses everything.
            let strict = operation["parameters"].to_string().contains("/Lenient");
            if !strict || path.starts_with("/kwq/simulat") {
                continue;
            }
            assert!(
                !knows(&server, method, path, "zzz"),
                "{method} {path} does not look at its query"
            );
            let described = described(operation);
            for word in words.union(&described).filter(|word| *word != "lenient") {
                let known = knows(&server, method, path, word);
                assert_eq!(known, described.contains(word), "{method} {path}: {word}");
            }
        }
    }
}
