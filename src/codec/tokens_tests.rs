//! Good files, and every way to be bad with the line it is told by.

use super::*;

const SHA: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn good(name: &str) -> String {
    format!("{{\"name\":\"{name}\",\"sha256\":\"{SHA}\",\"roles\":[\"view\",\"operate\"]}}")
}

#[track_caller]
fn fault(text: &str, line: usize, words: &str) {
    let fault = parse(text).expect_err("must be refused");
    assert_eq!(fault.line, line, "{fault}");
    assert!(fault.to_string().contains(words), "{fault}");
    assert!(!fault.to_string().contains(SHA), "{fault}");
}

#[test]
fn a_line_is_read_and_written_alike() {
    let text = format!(
        "\n{{\"name\":\"ops-2\",\"sha256\":\"{SHA}\",\"roles\":[\"view\",\"operate\"],\
         \"scopes\":[\"eod-\",\"var\"],\"expires_ts\":1790000000000}}\r\n\n"
    );
    let tokens = parse(&text).expect("a good file");
    let token = &tokens[0];
    assert_eq!((tokens.len(), &*token.name), (1, "ops-2"));
    assert_eq!(token.sha256, digest::sha256(b"test"));
    assert_eq!(token.roles, Roles::of(&[Role::View, Role::Operate]));
    assert!(token.scopes.cover("eod-risk") && !token.scopes.cover("intraday"));
    assert_eq!(token.expires, WallMs(1_790_000_000_000));
    assert_eq!(line(token), text.trim());
    assert_eq!(parse(&line(token)), Ok(tokens));
    let plain = &parse(&good("a")).expect("a good file")[0];
    assert!(plain.scopes.everything() && plain.expires.known().is_none());
    assert_eq!(line(plain), good("a"));
}

#[test]
fn a_bad_line_is_named_by_its_number_and_never_shown() {
    let after = |line: &str| format!("{}\n\n{line}\n", good("a").replace("9f86", "0000"));
    let put = |from: &str, to: &str| after(&good("b").replace(from, to));
    fault(&after("{\"name\":"), 3, "");
    fault(&after("[]"), 3, "object");
    fault(&put("\"name\":\"b\",", ""), 3, "`name` is missing");
    fault(&put(&format!("\"sha256\":\"{SHA}\","), ""), 3, "`sha256` is missing");
    fault(&put(",\"roles\":[\"view\",\"operate\"]", ""), 3, "`roles` is missing");
    fault(&put("9f86", "9f8"), 3, "64 hexadecimal");
    fault(&put("9f86", "xyzx"), 3, "64 hexadecimal");
    fault(&put("operate", "root"), 3, "operate, admin");
    fault(&put("\"roles\":[", "\"roles\":[7,"), 3, "roles");
    fault(&put("]}", "],\"scope\":[]}"), 3, "unknown member `scope`");
    fault(&put("]}", "],\"scopes\":[\"\"]}"), 3, "scopes");
    fault(&put("]}", "],\"scopes\":\"eod-\"}"), 3, "scopes");
    fault(&put("]}", "],\"expires_ts\":0}"), 3, "expires_ts");
    fault(&put("]}", "],\"expires_ts\":\"soon\"}"), 3, "expires_ts");
    fault(&put("]}", "],\"name\":\"c\"}"), 3, "");
    fault(&after("{\"cn\":\"client-7\",\"name\":\"c\",\"roles\":[]}"), 3, "client certificates");
    fault(&format!("{}\n{}", good("a"), good("b")), 2, "same sha256");
}

#[test]
fn a_file_without_a_token_is_bad_and_so_is_one_with_too_many() {
    fault("", 1, "no token");
    fault("\n\n", 2, "no token");
    let lines = |count: usize| -> String {
        let sha = |i: usize| format!("{i:064x}");
        (0..count).map(|i| format!("{}\n", good("a").replace(SHA, &sha(i)))).collect()
    };
    assert_eq!(parse(&lines(1_000)).map(|tokens| tokens.len()), Ok(1_000));
    fault(&lines(1_001), 1_001, "more than 1000");
}
