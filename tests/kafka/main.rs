//! What only a real Apache Kafka can show. `KWQ_TEST_KAFKA=host:port` names one; otherwise
//! `broker.py` brings it. Every test has topics of its own. Load and checker are those of the
//! fault suite.

mod bench;
mod broker;
mod commands;
mod contract;
mod control;
mod cuts;
mod faults;
mod feeds;
mod full;
mod gossip;
mod group;
mod inbox;
mod instances;
#[cfg(test)]
mod log_contract;
mod mock;
mod net;
mod own;
mod ownership;
mod set_up;

#[path = "../faults/checker.rs"]
mod checker;
#[path = "../faults/final_state.rs"]
mod final_state;
#[path = "../faults/fold.rs"]
mod fold;
#[path = "../faults/history.rs"]
mod history;
#[path = "../faults/http.rs"]
mod http;
#[path = "../faults/load.rs"]
mod load;
#[path = "../faults/mount.rs"]
mod mount;
#[path = "../faults/operator.rs"]
mod operator;
#[expect(dead_code, reason = "some of it is for the embedded log")]
#[path = "../faults/run.rs"]
mod run;
#[expect(dead_code, reason = "some of it is for the embedded log")]
#[path = "../faults/server.rs"]
mod server;
#[path = "../faults/util.rs"]
mod util;
#[path = "../faults/worker.rs"]
mod worker;
