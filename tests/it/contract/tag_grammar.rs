//! `semantics.md` 13.1, the tag grammar: its worked examples and each of its four rules. The inbox
//! half of rule 4 needs Kafka.

use serde_json::{Value, json};

use crate::support::{Answer, encode, merge, shared, sorted, text, unique};

fn send(task: &Value) -> Answer {
    shared().post("/kwq/submit", &merge(&json!({"groupId": unique("tags")}), task))
}

/// The task as kept.
#[track_caller]
fn kept(task: &Value) -> Value {
    let answer = send(task);
    shared().task(answer.expect(200).header("Kwq-Ref").expect("a reference"))
}

/// A tag text and the tags it gives, in their order.
#[track_caller]
fn parses(tag: &str, expected: &[&str]) {
    let shown = kept(&json!({"tag": tag}));
    let got: Vec<&str> = shown["tags"]
        .as_array()
        .map_or(&[][..], Vec::as_slice)
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(got, expected, "{tag:?}");
}

#[track_caller]
fn refused(task: &Value) {
    send(task).refused(422, "invalid_tag");
}

#[test]
fn the_worked_example() {
    let tag = "tradeid-10, coupon:10m,currency:USD,maturity:25y,risk:CR01,PV01";
    let expected = [
        "tradeid-10",
        "coupon:10m",
        "currency:USD",
        "maturity:25y",
        "risk:CR01",
        "risk:PV01",
        "PV01",
    ];
    parses(tag, &expected);
    assert_eq!(kept(&json!({"tag": tag}))["tag"], tag, "the text as submitted");
}

// Every tag of the example finds the task, and its values are counted under their keys.
#[test]
fn the_worked_example_is_searched_and_counted() {
    let (server, job) = (shared(), unique("tags"));
    let tag = "tradeid-10, coupon:10m,currency:USD,maturity:25y,risk:CR01,PV01";
    server.submit(&json!({"groupId": job, "tag": tag}));
    for tag in ["tradeid-10", "coupon:10m", "risk:CR01", "risk:PV01", "PV01"] {
        assert_eq!(server.tasks(&job, &format!("&tag={}", encode(tag))).len(), 1, "{tag}");
    }
    for tag in ["CR01", "10m", "risk:DV01", "coupon", "tradeid:10"] {
        assert_eq!(server.tasks(&job, &format!("&tag={}", encode(tag))).len(), 0, "{tag}");
    }
    for (key, values) in [("risk", ["CR01", "PV01"]), ("_", ["PV01", "tradeid-10"])] {
        let path = format!("/kwq/jobs/{job}/breakdown?by=tag:{key}&fresh=true");
        let body = server.get(&path).ok();
        let rows = body["rows"].as_array().expect("rows");
        let mut seen: Vec<&str> =
            rows.iter().filter(|r| r["total"] == 1).map(|r| text(r, "value")).collect();
        seen.sort_unstable();
        assert_eq!(seen, values, "{body}");
    }
}

#[test]
fn rule_1_a_pair() {
    parses("k:v", &["k:v"]);
}

#[test]
fn rule_1_the_first_colon_splits() {
    parses("at:12:30", &["at:12:30"]);
    let (server, job) = (shared(), unique("tags"));
    server.submit(&json!({"groupId": job, "tag": "at:12:30"}));
    let path = format!("/kwq/jobs/{job}/breakdown?by=tag:at&fresh=true");
    assert_eq!(server.get(&path).ok()["rows"][0]["value"], "12:30");
}

#[test]
fn rule_2_bare_items_after_a_pair_are_values_too() {
    let tag = "risk:CR01,PV01,DV01";
    let shown = kept(&json!({"tag": tag}));
    assert_eq!(sorted(&shown["tags"]), ["DV01", "PV01", "risk:CR01", "risk:DV01", "risk:PV01"]);
}

#[test]
fn rule_2_ends_at_the_next_pair() {
    parses("a:1,x,b:2,y", &["a:1", "a:x", "x", "b:2", "b:y", "y"]);
}

#[test]
fn rule_2_bare_items_before_the_first_pair_are_only_bare() {
    parses("x,y,k:v", &["x", "y", "k:v"]);
}

#[test]
fn rule_3_a_colon_in_front_is_a_bare_item() {
    parses(":x", &["x"]);
    parses("k:v,:x", &["k:v", "k:x", "x"]);
}

#[test]
fn rule_3_a_colon_behind_is_a_bare_item() {
    parses("x:", &["x"]);
    parses("k:v,x:", &["k:v", "k:x", "x"]);
}

#[test]
fn rule_3_a_colon_alone_and_empty_items_are_ignored() {
    parses("", &[]);
    parses(":", &[]);
    parses(",,:, ,a,,k:v,:,", &["a", "k:v"]);
}

#[test]
fn rule_3_case_matters() {
    parses("usd,USD,Ccy:USD,ccy:USD", &["usd", "USD", "Ccy:USD", "ccy:USD"]);
}

#[test]
fn rule_3_repeats_collapse_and_order_is_kept() {
    parses("b,a,b,k:2,k:1,k:2", &["b", "a", "k:2", "k:1"]);
}

#[test]
fn white_space_is_trimmed_around_items_keys_and_values() {
    parses(" a ,\t k \t:  v w  , k2:v2", &["a", "k:v w", "k2:v2"]);
}

#[test]
fn rule_4_controls_are_refused() {
    for control in ['\u{0}', '\u{1}', '\n', '\r', '\u{1f}', '\u{7f}', '\u{80}', '\u{9f}'] {
        refused(&json!({"tag": format!("a{control}b")}));
        refused(&json!({"tags": [format!("k:v{control}")]}));
    }
    parses("k:\u{a0}x", &["k:\u{a0}x"]);
}

#[test]
fn rule_4_parts_have_a_length_in_octets() {
    let long = |n: usize| "x".repeat(n);
    parses(&format!("{}:v", long(64)), &[&format!("{}:v", long(64))]);
    parses(&format!("k:{}", long(128)), &[&format!("k:{}", long(128))]);
    parses(&long(128), &[&long(128)]);
    let wide = "ü".repeat(32);
    parses(&format!("{wide}:v"), &[&format!("{wide}:v")]);
    refused(&json!({"tag": format!("{}:v", long(65))}));
    refused(&json!({"tag": format!("k:{}", long(129))}));
    refused(&json!({"tag": long(129)}));
    refused(&json!({"tag": format!("{wide}x:v")}));
}

#[test]
fn rule_4_a_text_has_4096_octets() {
    let fits = format!("a{}", " ".repeat(4_095));
    parses(&fits, &["a"]);
    refused(&json!({"tag": format!("{fits} ")}));
}

#[test]
fn rule_4_a_task_has_32_tags_after_rule_2() {
    let bare = |n: usize| (0..n).map(|i| format!("b{i}")).collect::<Vec<String>>().join(",");
    assert_eq!(kept(&json!({"tag": bare(32)}))["tags"].as_array().map(Vec::len), Some(32));
    refused(&json!({"tag": bare(33)}));
    let fits = format!("x,k:v,{}", bare(15));
    assert_eq!(kept(&json!({"tag": fits}))["tags"].as_array().map(Vec::len), Some(32));
    refused(&json!({"tag": format!("k:v,{}", bare(16))}));
    refused(
        &json!({"tag": bare(20), "tags": (0..13).map(|i| format!("c{i}")).collect::<Vec<_>>()}),
    );
}

#[test]
fn an_array_has_no_rule_2() {
    let shown = kept(&json!({"tags": ["risk:CR01", "PV01"]}));
    assert_eq!(shown["tags"], json!(["risk:CR01", "PV01"]), "order is kept");
}

#[test]
fn an_array_has_no_commas() {
    refused(&json!({"tags": ["a,b"]}));
    refused(&json!({"tags": ["k:a,b"]}));
}

#[test]
fn an_object_of_values_and_lists() {
    let shown = kept(&json!({"tags": {"currency": "USD", "risk": ["CR01", "PV01"]}}));
    assert_eq!(sorted(&shown["tags"]), ["currency:USD", "risk:CR01", "risk:PV01"]);
}

#[test]
fn all_forms_are_united() {
    let (server, job) = (shared(), unique("tags"));
    let defaults = json!({"tags": ["desk:rates", "a"]});
    server.post("/kwq/jobs", &json!({"id": job, "defaults": defaults})).expect(201);
    let reference =
        server.submit(&json!({"groupId": job, "tag": "a,risk:CR01", "tags": {"ccy": "USD"}}));
    let shown = server.task(&reference);
    assert_eq!(sorted(&shown["tags"]), ["a", "ccy:USD", "desk:rates", "risk:CR01"]);
}

// "or bare tags first, then pairs, joined by `,` (which parses back to the same set)".
#[test]
fn the_text_of_other_forms_parses_back() {
    for tags in [
        json!(["k:v", "bare", "k:w", "other"]),
        json!({"currency": "USD", "risk": ["CR01", "PV01"]}),
        json!(["at:12:30", "x"]),
    ] {
        let shown = kept(&json!({"tags": tags}));
        let again = kept(&json!({"tag": shown["tag"]}));
        assert_eq!(sorted(&again["tags"]), sorted(&shown["tags"]), "{shown}");
    }
    let shown = kept(&json!({"tags": ["k:v", "bare"]}));
    assert_eq!(shown["tag"], "bare,k:v");
    assert_eq!(shown["tags"], json!(["k:v", "bare"]));
}
