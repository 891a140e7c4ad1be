//! A schema knows exactly the fields its parser knows, with the same bounds and words.

use super::*;
use crate::codec::json;
use crate::codec::wire::field::Rules;
use crate::codec::wire::job::Base;
use crate::codec::wire::report::{self, Kind};
use crate::codec::wire::{array, consume, job as job_wire, seed as seed_wire, task as task_wire};
use crate::model::priority::Priority;
use crate::model::reject::{Code, Reject};
use std::collections::BTreeSet;

/// A schema of `all`, or a part of one, and the parser it stands for.
struct Case {
    name: &'static str,
    schema: Value,
    /// A body without the field that is tried.
    base: Value,
    /// Where in the body the fields of the schema stand.
    at: &'static str,
    parse: fn(&json::Fields<'_>) -> Result<(), Reject>,
}

fn case(
    name: &'static str,
    base: Value,
    at: &'static str,
    parse: fn(&json::Fields<'_>) -> Result<(), Reject>,
) -> Case {
    Case { name, schema: all()[name].clone(), base, at, parse }
}

fn base_of_jobs() -> Base {
    Base { priority: Priority::DEFAULT, retention_ms: 0 }
}

fn task_of(fields: &json::Fields<'_>) -> Result<(), Reject> {
    task_wire::parse(fields, None, &Rules::default()).map(drop)
}

fn array_of(fields: &json::Fields<'_>) -> Result<(), Reject> {
    let Some(member) = array::member(fields) else { return Err(Reject::field("array", "none")) };
    array::parse(fields, member, None, &Rules::default()).map(drop)
}

fn job_of(fields: &json::Fields<'_>) -> Result<(), Reject> {
    job_wire::parse(fields, base_of_jobs(), &Rules::default()).map(drop)
}

fn plan_of(fields: &json::Fields<'_>) -> Result<(), Reject> {
    crate::codec::wire::simulation::parse(fields, &Rules::default()).map(drop)
}

fn bulk_of(fields: &json::Fields<'_>, redrive: bool) -> Result<(), Reject> {
    crate::codec::wire::operation::parse(fields, redrive, &Rules::default()).map(drop)
}

fn redrive_of(fields: &json::Fields<'_>) -> Result<(), Reject> {
    bulk_of(fields, true)
}

fn reported(fields: &json::Fields<'_>, kind: Kind) -> Result<(), Reject> {
    match report::parse(fields, kind, &Rules::default())? {
        report::Body::One(sent) => sent.report.map(drop),
        report::Body::Many(_) => Ok(()),
    }
}

fn consume_of(fields: &json::Fields<'_>) -> Result<(), Reject> {
    let body = consume::parse(fields, &Rules::default())?;
    body.done.into_iter().flatten().try_for_each(|sent| sent.report.map(drop))
}

/// Variants of a report in `done`; each is looked at as if it were the only one.
fn done(variant: usize, name: &'static str, kind: &str) -> Case {
    let base = json!({ "worker": "w", "done": [{ "lease": "x", "type": kind }] });
    let schema = all()["DoneReport"]["oneOf"][variant].clone();
    Case { name, schema, base, at: "/done/0", parse: consume_of }
}

fn cases() -> Vec<Case> {
    vec![
        case("NewTask", json!({}), "", task_of),
        case("Backoff", json!({ "backoff": {} }), "/backoff", task_of),
        case("NewArray", json!({ "array": { "to": 1 } }), "", array_of),
        case(
            "ArraySpan",
            json!({ "array": { "to": 1, "payloadTemplate": "{i}" } }),
            "/array",
            array_of,
        ),
        case("NewJob", json!({}), "", job_of),
        case("NewDefaults", json!({ "defaults": {} }), "/defaults", job_of),
        case("JobPatch", json!({}), "", |f| job_wire::parse_patch(f, &Rules::default()).map(drop)),
        case("JobCancel", json!({}), "", |f| {
            job_wire::parse_cancel(f, &Rules::default()).map(drop)
        }),
        case("Reason", json!({}), "", |f| job_wire::parse_reason(f, &Rules::default()).map(drop)),
        case("Redrive", json!({}), "", |f| job_wire::parse_set(f, &Rules::default()).map(drop)),
        case("Consume", json!({ "worker": "w" }), "", consume_of),
        case("Heartbeat", json!({ "worker": "w" }), "", |f| {
            consume::parse_heartbeat(f, &Rules::default()).map(drop)
        }),
        case("StartReport", json!({ "lease": "x" }), "", |f| reported(f, Kind::Start)),
        case("CompleteReport", json!({ "lease": "x" }), "", |f| reported(f, Kind::Complete)),
        case("FailReport", json!({ "lease": "x" }), "", |f| reported(f, Kind::Fail)),
        case("ReleaseReport", json!({ "lease": "x" }), "", |f| reported(f, Kind::Release)),
        done(0, "done: complete", "complete"),
        done(1, "done: fail", "fail"),
        done(2, "done: release", "release"),
        case("Registration", json!({ "worker": "w" }), "", |f| {
            crate::codec::wire::worker::parse(f, &Rules::default()).map(drop)
        }),
        case("Drain", json!({}), "", |f| {
            crate::codec::wire::worker::parse_drain(f, &Rules::default()).map(drop)
        }),
        case("BulkRedrive", json!({ "filter": { "job": "j" } }), "", redrive_of),
        case("BulkPurge", json!({ "filter": { "job": "j" } }), "", |f| bulk_of(f, false)),
        case("DeadFilter", json!({ "all": true, "filter": {} }), "/filter", redrive_of),
        case("NewPriority", json!({ "all": true, "set": {} }), "/set", redrive_of),
        case("Plan", json!({}), "", plan_of),
        case("RunTime", json!({ "durationMs": {} }), "/durationMs", plan_of),
        case("SeedUpdate", json!({ "id": "a", "status": "RUNNING" }), "", |f| {
            seed_wire::parse_update(f, &Rules::default()).map(drop)
        }),
    ]
}

impl Case {
    /// Parses the body with a field of this value.
    fn with(&self, field: &str, value: &Value) -> Result<(), Reject> {
        let mut body = self.base.clone();
        body.pointer_mut(self.at).expect("the base reaches there")[field] = value.clone();
        let text = body.to_string();
        (self.parse)(&json::object(&text).expect("an object"))
    }

    fn takes(&self, field: &str, value: &Value) -> bool {
        self.with(field, value).is_ok()
    }

    fn knows(&self, field: &str) -> bool {
        // No field is unknown for its value; a `null` is passed over before its name is looked at.
        let outcome = self.with(field, &json!(false));
        !outcome.is_err_and(|r| matches!(r.code, Code::UnknownField | Code::NotSupported))
    }

    fn properties(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.schema["properties"].as_object().into_iter().flatten()
    }

    /// Fields that are answered and ignored when they are sent back.
    fn echoed(&self) -> BTreeSet<String> {
        let answered: &[&str] = match self.name {
            "NewTask" | "NewArray" => &["Task", "HandOut"],
            "NewJob" => &["Job"],
            _ => &[],
        };
        let schemas = all();
        let of = |name: &&str| schemas[*name]["properties"].as_object().cloned();
        let echoed = answered.iter().filter_map(of).flatten().map(|(name, _)| name);
        // What has the member `array` is no task, and goes to another parser.
        let apart = (self.name == "NewTask").then(|| "array".to_owned());
        echoed.chain(apart).collect()
    }
}

/// Every word in double quotes in the source of the parsers: what they could ask for.
fn words() -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let mut folders = vec![concat!(env!("CARGO_MANIFEST_DIR"), "/src/codec/wire").into()];
    while let Some(folder) = folders.pop() {
        let folder: std::path::PathBuf = folder;
        for entry in std::fs::read_dir(folder).expect("a folder of the source") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(path).expect("a file of the source");
            let quoted = text.split('"').skip(1).step_by(2).map(str::to_owned);
            let name = |w: &String| w.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            words.extend(quoted.filter(name).filter(|w| !w.is_empty()));
        }
    }
    words
}

#[test]
fn a_schema_and_its_parser_know_the_same_fields() {
    let words = words();
    assert!(words.len() > 100 && words.contains("leaseMs"), "{words:?}");
    for case in cases() {
        let described: BTreeSet<String> = case.properties().map(|(n, _)| n.clone()).collect();
        for field in &described {
            assert!(case.knows(field), "{}: the parser does not know {field}", case.name);
        }
        let echoed = case.echoed();
        let ignored = |w: &&String| echoed.contains(*w) || w.ends_with("_ts");
        let own = words.iter().filter(|w| !described.contains(*w) && !ignored(w));
        let hidden: Vec<&String> = own.filter(|word| case.knows(word)).collect();
        assert!(hidden.is_empty(), "{}: the schema does not know {hidden:?}", case.name);
        assert_eq!(case.schema["additionalProperties"], false, "{}", case.name);
    }
}

/// Fields with a rule that looks at others, or a bound that can be configured.
const BOUND_ELSEWHERE: [&str; 4] = ["from", "to", "payloadTemplate", "tag"];

#[test]
fn a_schema_and_its_parser_have_the_same_bounds_and_words() {
    let mut tried = 0;
    for case in cases() {
        for (field, schema) in case.properties() {
            if BOUND_ELSEWHERE.contains(&field.as_str()) {
                continue;
            }
            for (value, good) in edges(schema) {
                let shown = value.to_string();
                let shown = shown.get(..40).unwrap_or(&shown);
                assert_eq!(case.takes(field, &value), good, "{}: {field} = {shown}", case.name);
                tried += 1;
            }
        }
    }
    assert!(tried > 150, "{tried}");
}

/// Values at the edge of what a schema allows, and just beyond it.
fn edges(schema: &Value) -> Vec<(Value, bool)> {
    let mut out = Vec::new();
    let whole = schema["type"] == "integer";
    if let Some(max) = schema["maximum"].as_u64().filter(|_| whole) {
        let min = schema["minimum"].as_u64().expect("both bounds");
        let below = min.checked_sub(1).map_or_else(|| json!(-1), |v| json!(v));
        out.extend([(json!(min), true), (json!(max), true), (json!(max + 1), false)]);
        out.extend([(below, false), (json!(2.5), false), (json!("2"), false)]);
    }
    if let Some(max) = schema["maxLength"].as_u64() {
        let text = |n: u64| json!("a".repeat(usize::try_from(n).expect("a length")));
        out.extend([(text(max), true), (text(max + 1), false), (json!(1), false)]);
        out.extend([(json!(""), schema["minLength"].is_null())]);
    }
    if let Some(words) = schema["enum"].as_array() {
        out.extend(words.iter().map(|word| (word.clone(), true)));
        out.push((json!("other"), false));
    }
    if schema["type"] == "boolean" {
        out.extend([(json!(true), true), (json!(false), true), (json!("true"), false)]);
    }
    out
}

#[test]
fn required_fields_are_those_without_which_the_parser_refuses() {
    for case in cases() {
        let required: Vec<&str> = case.schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        for field in ["worker", "lease", "to", "id", "status"] {
            let described = case.properties().any(|(name, _)| name == field);
            if described {
                let refused = !case.takes(field, &Value::Null);
                assert_eq!(required.contains(&field), refused, "{}: {field}", case.name);
            }
        }
    }
}

#[test]
fn schemas_have_names_of_their_own() {
    let count: usize = groups().iter().map(Vec::len).sum();
    assert_eq!(all().len(), count);
}
