//! F8 frozen process, F9 second process on one data directory, F14 SIGTERM under load.

use crate::http::Client;
use crate::run::Run;
use crate::server::{Server, Start};
use crate::util::{alone, pause_ms, say, scaled, scratch};

#[test]
fn a_frozen_process_goes_on_without_cutting_a_lease_short() {
    let _alone = alone();
    let mut run = Run::new("f08-freeze");
    let mut server = run.serve();
    run.load();
    pause_ms(1_000);
    for _ in 0..scaled(3) {
        let ms = run.rng.range(100, 3_000);
        run.count_in_flight();
        run.nemesis(&format!("SIGSTOP {ms} ms"));
        server.signal("STOP");
        pause_ms(ms);
        server.signal("CONT");
        run.nemesis("SIGCONT");
        pause_ms(1_500);
    }
    run.verdict(server);
}

#[test]
fn a_second_process_on_one_data_directory_is_refused_within_a_second() {
    let _alone = alone();
    let dir = scratch("f09-lock").join("data");
    let start = Start { dir, ..Start::default() };
    let first = Server::start(&start).expect("the first process starts");
    for _ in 0..scaled(3) {
        let mut second = Server::spawn(&start);
        let code = second.wait_end(5_000);
        let ms = second.age_us() / 1_000;
        let said = second.stderr();
        say(&format!("f09-lock: the second process ended with {code:?} after {ms} ms"));
        assert!(code.is_some_and(|c| c != 0), "exit code not 0: {code:?}: {said}");
        assert!(ms <= 1_000, "it took {ms} ms");
        assert!(said.contains("lock") || said.contains("in use"), "it says why: {said}");
        assert!(!said.contains("listening on"), "it never listened: {said}");
        let addr = first.addr().expect("it listens");
        let answer = Client::new(addr).get("/kwq/health/ready").expect("the first lives");
        assert_eq!(answer.status, 200, "the first process is not touched");
    }
    let (code, _) = first.terminate(10_000);
    assert_eq!(code, Some(0), "the first process ends well");
}

#[test]
fn sigterm_under_load_exits_with_0_within_10_s_and_loses_nothing() {
    let _alone = alone();
    let mut run = Run::new("f14-term");
    let mut server = run.serve();
    run.load();
    for i in 0..scaled(5) {
        pause_ms(run.rng.range(700, 1_500));
        run.count_in_flight();
        run.nemesis("SIGTERM");
        if i % 5 == 4 {
            server.signal("TERM"); // with the one below: twice
            pause_ms(50);
        }
        let (code, ms) = server.terminate(20_000);
        run.world.set_addr(None);
        say(&format!("f14-term: exit {code:?} after {ms} ms"));
        assert_eq!(code, Some(0), "SIGTERM ends with 0");
        assert!(ms <= 10_000, "it took {ms} ms");
        server = run.serve();
    }
    run.verdict(server);
}
