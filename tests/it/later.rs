//! What this release does not have yet must say so: 404 `no_route` (405 where the path exists) on
//! a route, 422 `not_supported` on a field (`api.md` preamble). A test moves from here to its own
//! file when its feature comes.

use serde_json::json;

use crate::support::{Req, shared};

fn not_there(method: &str, path: &str) {
    let mut req = Req::new(method, path);
    if method != "GET" {
        req = req.json(&json!({}));
    }
    let answer = shared().call(&req);
    match answer.status {
        404 => answer.refused(404, "no_route"),
        _ => answer.refused(405, "method_not_allowed"),
    };
}

// api.md 3, routes that no release-1 server has.
#[test]
fn routes_of_a_later_release_are_not_there() {
    not_there("PATCH", "/kwq/tasks/5-0-1");
    not_there("POST", "/kwq/operations");
    not_there("GET", "/kwq/stats/failures");
    not_there("GET", "/kwq/stats/workers");
    not_there("GET", "/kwq/autoscale");
}
