//! The chain holds, and every edit breaks it.

use super::*;

fn deed(target: &str) -> Deed {
    Deed {
        at: WallMs(1_760_000_000_000),
        actor: "token:ops-2".to_owned(),
        from: "127.0.0.1".to_owned(),
        role: "operate",
        op: "job.cancel",
        call: "POST /kwq/jobs/{job}/cancel".to_owned(),
        target: target.to_owned(),
        result: "ok",
        job: String::new(),
        operation: String::new(),
        position: "0:4711".to_owned(),
    }
}

fn trail(count: usize) -> Vec<String> {
    let mut link = Link::default();
    let mut lines = Vec::new();
    for i in 0..count {
        let (line, next) = super::line(&link, &deed(&format!("job-{i}")));
        lines.push(String::from_utf8(line).expect("text"));
        link = next;
    }
    lines
}

fn check(lines: &[String]) -> Result<Link, (usize, Fault)> {
    let mut steps = lines.iter().enumerate();
    steps.try_fold(Link::default(), |link, (at, line)| follow(&link, line).map_err(|f| (at, f)))
}

#[test]
fn a_line_says_what_was_done_and_follows_the_one_before() {
    let lines = trail(3);
    assert!(lines[0].starts_with(
        "{\"seq\":1,\"ts\":1760000000000,\"actor\":\"token:ops-2\",\"from\":\"127.0.0.1\",\
         \"role\":\"operate\",\"op\":\"job.cancel\",\"call\":\"POST /kwq/jobs/{job}/cancel\",\
         \"target\":\"job-0\",\"result\":\"ok\",\"position\":\"0:4711\",\"prev\":\"0000"
    ));
    assert_eq!(check(&lines).map(|link| link.next), Ok(4));
}

#[test]
fn one_changed_byte_anywhere_is_found() {
    let lines = trail(3);
    for at in 0..lines[1].len() {
        let mut bytes = lines[1].clone().into_bytes();
        bytes[at] ^= 1;
        let Ok(text) = String::from_utf8(bytes) else { continue };
        let edited = [lines[0].clone(), text, lines[2].clone()];
        assert!(matches!(check(&edited), Err((1 | 2, _))), "byte {at}: {}", edited[1]);
    }
}

#[test]
fn a_line_taken_out_put_in_or_moved_is_found() {
    let lines = trail(4);
    let without = [lines[0].clone(), lines[2].clone(), lines[3].clone()];
    assert_eq!(check(&without), Err((1, Fault::Unchained)));
    let twice = [lines[0].clone(), lines[0].clone()];
    assert_eq!(check(&twice), Err((1, Fault::Unchained)));
    let (forged, _) = super::line(&Link { next: 2, prev: "1".repeat(64) }, &deed("x"));
    let forged = String::from_utf8(forged).expect("text");
    assert_eq!(check(&[lines[0].clone(), forged]), Err((1, Fault::Unchained)));
    let more = lines[0].replace("\"}", "\",\"note\":1}");
    assert_eq!(link(&more), Err(Fault::Changed));
    assert_eq!(link("{}"), Err(Fault::Malformed));
    assert_eq!(link("{\"seq\":1,\"hash\":\"00\"}"), Err(Fault::Changed));
}

#[test]
fn a_hostile_target_stays_one_line_of_json() {
    let (line, _) = super::line(&Link::default(), &deed("a\"\n\u{1b}[31m,\"hash\":\"x\"}"));
    let text = String::from_utf8(line).expect("text");
    assert!(!text.contains('\n') && !text.contains('\u{1b}'), "{text}");
    assert_eq!(link(&text).map(|link| link.next), Ok(2));
}
