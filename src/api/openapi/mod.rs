//! The OpenAPI 3.1 document: rows of the table of routes (`x-kwq-role`, security, what the gate
//! refuses) joined with a description of each operation (one file a resource) and the schemas of
//! `codec::schema`. A row without a description, or the reverse, fails a test.
//!
//! Must not: be used on the way of a call; the texts are made once.

mod jobs;
mod node;
mod operation;
mod operations;
mod refusals;
mod tasks;
mod work;

use crate::api::openapi::operation::Operation;
use crate::api::route::Route;
use crate::api::routes;
use crate::codec::{schema, yaml};
use crate::model::access::{Access, Role};
use crate::model::limits;
use serde_json::{Map, Value, json};
use std::sync::OnceLock;

/// The document in both forms.
pub(crate) struct Texts {
    pub(crate) json: String,
    pub(crate) yaml: String,
}

/// The document of this build.
pub(crate) fn texts() -> &'static Texts {
    static TEXTS: OnceLock<Texts> = OnceLock::new();
    TEXTS.get_or_init(|| {
        let json = document().to_string();
        let yaml = yaml::of_json(&json).expect("a text written from a JSON tree is JSON");
        Texts { json, yaml }
    })
}

/// Every described operation.
fn operations() -> Vec<Operation> {
    let groups = [
        jobs::operations(),
        tasks::operations(),
        operations::operations(),
        work::operations(),
        node::operations(),
    ];
    groups.concat()
}

fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "kwq",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Compute-grid dispatcher and task tracker",
            "description": ABOUT,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "tags": TAGS.map(|(name, note)| json!({ "name": name, "description": note })),
        "paths": paths(),
        "components": {
            "schemas": schema::all(),
            "parameters": parameters(),
            "headers": operation::headers(),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Needed as soon as tokens are configured",
                },
            },
        },
    })
}

const ABOUT: &str = "Every refusal is `application/problem+json` with a stable `code`; \
    `/docs/errors/{code}` explains it. `x-kwq-role` names the role a token needs: several are \
    joined by ` or `; `any` = every valid token, `none` = no token. `x-kwq-scoped: false`: not for \
    tokens with scopes. In bodies `null` counts as absent. An unknown field or query parameter is \
    refused unless `lenient=true`. HEAD is answered as GET, without the body, on `/`, on \
    health (`/kwq/health`, `/livez`, `/readyz`), documents (`/docs`, `/openapi.json`, \
    `/openapi.yaml`) and files (`/ui`, `/swagger`), with all that is below these; everywhere else \
    with 405.";

const TAGS: [(&str, &str); 6] = [
    ("jobs", "Jobs and submits"),
    ("tasks", "Tasks and the dead letter"),
    ("operations", "Bulk work"),
    ("work", "What workers call"),
    ("node", "Numbers, cluster, audit, health, documents"),
    ("seed", "Routes of the original"),
];

fn paths() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    let described = operations();
    for route in routes::table() {
        let Some(operation) = described.iter().find(|o| o.describes(&route)) else { continue };
        let item = paths.entry(path_of(route.row.pattern)).or_insert_with(|| json!({}));
        item[route.method.as_str().to_ascii_lowercase()] = operation.value(&route);
    }
    Value::Object(paths)
}

/// The pattern as a path template: a last `*` becomes a parameter.
fn path_of(pattern: &str) -> String {
    pattern.replace('*', "{path}")
}

/// The role of a row, as the document and `docs/roles.md` write it.
pub(crate) fn role_of(access: Access) -> String {
    match access {
        Access::Open => "none".to_owned(),
        Access::Any => "any".to_owned(),
        Access::OneOf(roles) => {
            let words: Vec<&str> = roles.iter().map(Role::word).collect();
            words.join(" or ")
        }
    }
}

/// Checked on every call below `/kwq` and on `/metrics`: it does not come from another site.
fn guarded(route: &Route) -> bool {
    private(route) || route.row.pattern == "/metrics"
}

fn private(route: &Route) -> bool {
    route.row.pattern.starts_with("/kwq")
}

/// Parameters that many operations share.
fn parameters() -> Value {
    json!({
        "Lenient": {
            "name": "lenient", "in": "query",
            "description": "Unknown fields and parameters are ignored",
            "schema": { "type": "boolean", "default": false },
        },
        "KwqTimeoutMs": {
            "name": "Kwq-Timeout-Ms", "in": "header",
            "description": "Do not begin later than this after the arrival (503, Kwq-Applied: no)",
            "schema": { "type": "integer", "minimum": 1, "maximum": 60_000 },
        },
        "IdempotencyKey": {
            "name": "Idempotency-Key", "in": "header",
            "description": "A repeat under the same key answers as the first call did",
            "schema": {
                "type": "string", "minLength": 1, "maxLength": limits::IDEMPOTENCY_KEY_MAX,
                "pattern": "^[ -~]+$",
            },
        },
        "Limit": {
            "name": "limit", "in": "query", "description": "Rows of a page at most",
            "schema": {
                "type": "integer", "minimum": 1, "maximum": limits::PAGE_MAX,
                "default": limits::PAGE,
            },
        },
        "Cursor": {
            "name": "cursor", "in": "query",
            "description": "`Kwq-Next` of the page before; good for one hour",
            "schema": { "type": "string" },
        },
        "Fresh": {
            "name": "fresh", "in": "query",
            "description": "Wait until the answer holds everything acknowledged before",
            "schema": { "type": "boolean", "default": false },
        },
    })
}

#[cfg(test)]
mod query_tests;
#[cfg(test)]
mod tests;
