//! Names, filters, panics.

use super::*;

#[test]
fn a_thread_has_its_name() {
    let named = spawn_thread("kwq-test", || std::thread::current().name().map(str::to_owned));
    assert_eq!(named.unwrap().join().unwrap().as_deref(), Some("kwq-test"));
}

#[test]
fn a_task_runs_on_the_current_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let answer = runtime.block_on(async { spawn_named("answer", async { 42 }).await });
    assert_eq!(answer.unwrap(), 42);
}

#[test]
fn a_bad_level_is_named() {
    assert!(filter("info").is_ok());
    assert!(filter("info,kwq::log=debug").is_ok());
    let error = check_level("info,kwq=loud").unwrap_err();
    assert!(error.contains("write a level"), "{error}");
}

#[test]
fn the_text_of_a_panic_is_found() {
    let text = |body: fn()| {
        let payload = std::panic::catch_unwind(body).unwrap_err();
        panic_text(payload.as_ref()).to_owned()
    };
    assert_eq!(text(|| std::panic::panic_any("P1")), "P1");
    assert_eq!(text(|| std::panic::panic_any(format!("P{}", 2))), "P2");
    assert_eq!(text(|| std::panic::panic_any(3_u8)), "no text");
}
