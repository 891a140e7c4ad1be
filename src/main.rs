//! temp
fn main() {
    let sets = std::env::args()
        .skip(1)
        .filter_map(|a| a.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())))
        .collect();
    let loaded = kwq::config::load(&kwq::config::Sources { file: None, sets }).unwrap();
    kwq::telemetry::install(Some(false), "info").unwrap();
    let node = kwq::node::Node::start(&loaded.config).unwrap();
    eprintln!("listening on http://{}", node.addr());
    eprintln!("{:?}", node.wait_ready());
    node.run_until_signal().unwrap();
}
