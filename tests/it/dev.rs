//! The README's first command: `kwq dev` prices a portfolio through real worker processes, stops
//! at Ctrl-C, and goes on where it was.

use serde_json::Value;

use crate::support::{Conn, Folder, Process, Req, eventually, int, signal};

fn dev(dir: &std::path::Path) -> (Process, std::net::SocketAddr) {
    let args = ["dev", "--listen", "127.0.0.1:0", "--workers", "2", "--tasks", "600"];
    let process = Process::start(dir, &args);
    let line = process.says("/ui/index.html");
    let (_, url) = line.split_once("http://").expect("a URL");
    let addr = url.split('/').next().and_then(|addr| addr.parse().ok()).expect("an address");
    (process, addr)
}

fn get(addr: std::net::SocketAddr, path: &str) -> Value {
    Conn::open(addr).and_then(|mut c| c.call(&Req::new("GET", path))).expect("an answer").ok()
}

fn completed(addr: std::net::SocketAddr) -> i64 {
    let call =
        Conn::open(addr).and_then(|mut c| c.call(&Req::new("GET", "/kwq/jobs/demo-pricing")));
    let job = call.ok().filter(|answer| answer.status == 200).map(|answer| answer.json());
    job.map_or(0, |job| job["counts"]["COMPLETED"].as_i64().unwrap_or(0))
}

#[test]
fn the_demo_outlives_a_killed_worker_and_a_stop_and_checks_every_price() {
    let dir = Folder::new("kwq-dev");
    let (mut first, addr) = dev(dir.path());
    let greeting = first.lines().len();
    assert!(greeting <= 12, "the first output is short: {:?}", first.lines());
    eventually("prices come", || (completed(addr) > 20).then_some(()));
    assert_eq!(first.children().len(), 2, "workers are processes");
    signal(first.children()[0], "KILL");
    first.says("replaced");
    let before = completed(addr);
    eventually("prices go on", || (completed(addr) > before + 20).then_some(()));
    first.signal("INT");
    assert_eq!(first.wait().code(), Some(0), "{:?}", first.lines());

    let (second, addr) = dev(dir.path());
    let report = second.says("prices checked against the closed form");
    assert!(report.contains("600 prices checked"), "{report}");
    let job = get(addr, "/kwq/jobs/demo-pricing");
    assert_eq!((&job["state"], int(&job, "submitted")), (&"COMPLETED".into(), 600));
    let priced_here: i64 = report
        .split("; ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next()?.replace(',', "").parse().ok())
        .expect("how many were priced in this run");
    assert!(priced_here < 600, "it went on where it was: {report}");
    let page = Conn::open(addr).and_then(|mut c| c.call(&Req::new("GET", "/ui/index.html")));
    assert!(page.expect("a page").expect(200).text().contains("<title>kwq</title>"));
}
