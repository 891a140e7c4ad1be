//! YAML keeps the tree and quotes every text.

use super::of_json;

#[test]
fn a_tree_is_indented_and_every_text_is_quoted() {
    let json = r#"{"a":{"b":[1,"no",[true,null],{"c":"x: \"y\"\n"}],"e":{},"f":[]},"on":"1.0"}"#;
    let want = "\"a\":\n  \"b\":\n    - 1\n    - \"no\"\n    -\n      - true\n      - null\n    \
                -\n      \"c\": \"x: \\\"y\\\"\\n\"\n  \"e\": {}\n  \"f\": []\n\"on\": \"1.0\"\n";
    assert_eq!(of_json(json).expect("JSON"), want);
    assert!(of_json("{").is_err());
}
