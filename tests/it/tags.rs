//! The seed's tag grammar (`semantics.md` 13.1) as seen through a submit.

use serde_json::{Value, json};

use crate::support::{Server, shared, sorted, text, unique};

fn tags_of(server: &Server, task: &Value) -> Value {
    let reference = server.submit(task);
    server.task(&reference)
}

#[track_caller]
fn parses(tag: &str, expected: &[&str]) {
    let task = tags_of(shared(), &json!({"groupId": unique("tags"), "tag": tag}));
    let mut expected: Vec<_> = expected.to_vec();
    expected.sort_unstable();
    let got = task.get("tags").map(sorted).unwrap_or_default();
    assert_eq!(got, expected, "{tag:?}");
}

// S 13.1 "Worked".
#[test]
fn the_worked_example_gives_its_seven_tags_in_order() {
    let tag = "tradeid-10, coupon:10m,currency:USD,maturity:25y,risk:CR01,PV01";
    let task = tags_of(shared(), &json!({"groupId": unique("worked"), "tag": tag}));
    let expected = json!([
        "tradeid-10",
        "coupon:10m",
        "currency:USD",
        "maturity:25y",
        "risk:CR01",
        "risk:PV01",
        "PV01"
    ]);
    assert_eq!(task["tags"], expected);
    assert_eq!(task["tag"], tag);
}

// S 13.1 rule 1: split at the first colon.
#[test]
fn a_value_may_contain_colons() {
    parses("at:12:30", &["at:12:30"]);
    let server = shared();
    let job = unique("colon");
    server.submit(&json!({"groupId": job, "tag": "at:12:30"}));
    assert_eq!(server.tasks(&job, "&tag=at:12:30").len(), 1);
}

// S 13.1 rule 2: bare items after a pair are further values of its key, and bare tags too.
#[test]
fn bare_items_after_a_pair_are_further_values_of_its_key() {
    parses("risk:CR01,PV01,DV01", &["risk:CR01", "risk:PV01", "risk:DV01", "PV01", "DV01"]);
    parses("x,risk:CR01,y,ccy:USD,z", &["x", "risk:CR01", "risk:y", "y", "ccy:USD", "ccy:z", "z"]);
}

// S 13.1 rule 3: `:x` and `x:` are bare; `:` and empty items are ignored; repeats collapse.
#[test]
fn odd_items_follow_rule_three() {
    parses(":x", &["x"]);
    parses("x:", &["x"]);
    parses("k:v,:x", &["k:v", "x", "k:x"]);
    parses(":,,a,", &["a"]);
    parses("a,a,a", &["a"]);
    parses("A,a", &["A", "a"]);
    parses(" \ta \t,  k : v ", &["a", "k:v"]);
    parses("", &[]);
}

// S 13.1 rule 4: controls, over-long parts, text over 4,096 B, more than 32 tags → invalid_tag.
#[test]
fn tags_over_their_limits_are_refused() {
    let server = shared();
    let many: Vec<String> = (0..33).map(|i| format!("t{i}")).collect();
    let doubled: Vec<String> = (0..17).map(|i| format!("t{i}")).collect();
    for tag in [
        "a\u{1}b".to_owned(),
        "a\u{85}".to_owned(),
        format!("{}:v", "k".repeat(65)),
        format!("k:{}", "v".repeat(129)),
        "b".repeat(129),
        "a,".repeat(2_049),
        many.join(","),
        // Rule 2 makes 1 + 2 × 16 = 33 of these.
        format!("k:v,{}", doubled.iter().take(16).cloned().collect::<Vec<_>>().join(",")),
    ] {
        let answer = server.post("/kwq/submit", &json!({"groupId": "never-made", "tag": tag}));
        answer.refused_field("invalid_tag", "tag");
    }
}

// S 13.1: the ends of the limits are inside them.
#[test]
fn tags_at_their_limits_are_accepted() {
    let many: Vec<String> = (0..32).map(|i| format!("t{i}")).collect();
    for tag in [
        format!("{}:{}", "k".repeat(64), "v".repeat(128)),
        "b".repeat(128),
        many.join(","),
        "a,".repeat(2_048),
    ] {
        shared().post("/kwq/submit", &json!({"groupId": unique("edge"), "tag": tag})).ok();
    }
}

// S 13.1: an array of single items (no rule 2), an object, all forms united.
#[test]
fn array_object_and_text_are_united() {
    let server = shared();
    let array = json!({"groupId": unique("arr"), "tags": ["risk:CR01", "PV01"], "tag": "x"});
    assert_eq!(sorted(&tags_of(server, &array)["tags"]), ["PV01", "risk:CR01", "x"]);
    let object = json!({"groupId": unique("obj"),
        "tags": {"currency": "USD", "risk": ["CR01", "PV01"]}, "tag": "x"});
    let expected = ["currency:USD", "risk:CR01", "risk:PV01", "x"];
    assert_eq!(sorted(&tags_of(server, &object)["tags"]), expected);
}

// S 13.1: without a text, `tag` is bare tags first, then pairs, and parses back to the same set.
#[test]
fn a_made_up_tag_text_parses_back_to_the_same_set() {
    let server = shared();
    let first = json!({"groupId": unique("back"), "tags": ["risk:CR01", "PV01", "k:v"]});
    let first = tags_of(server, &first);
    assert_eq!(first["tag"], "PV01,risk:CR01,k:v");
    let again = json!({"groupId": unique("back"), "tag": text(&first, "tag")});
    assert_eq!(sorted(&tags_of(server, &again)["tags"]), sorted(&first["tags"]));
}

// api.md 15 "More answers": an item of a tags array with a comma → invalid_tag.
#[test]
fn a_comma_inside_an_array_item_is_refused() {
    let task = json!({"groupId": "never-made", "tags": ["a,b"]});
    shared().post("/kwq/submit", &task).refused_field("invalid_tag", "tags");
}

// api.md 2.1: tags is an array of strings or an object.
#[test]
fn tags_of_a_wrong_type_are_refused() {
    for tags in [json!(5), json!([5]), json!({"k": 5}), json!("a,b")] {
        let answer = shared().post("/kwq/submit", &json!({"groupId": "never-made", "tags": tags}));
        let problem = answer.expect(422).json();
        let code = text(&problem, "code");
        assert!(["invalid_field", "invalid_tag"].contains(&code), "{problem}");
        assert!(text(&problem, "field").starts_with("tags"), "{problem}");
    }
}
