//! What a client of librdkafka tells of itself every few seconds, kept for the metrics.

use crate::log::{ClientNumbers, LinkFault};
use rdkafka::Statistics;
use std::sync::{Mutex, PoisonError};

/// The newest word of a client.
#[derive(Default)]
pub(super) struct Vitals(Mutex<ClientNumbers>);

impl Vitals {
    /// Takes what the client says. Its counters belong to connections of brokers it knows now, so a
    /// sum may fall when a broker is forgotten.
    #[expect(clippy::disallowed_methods, reason = "a sum does not depend on the order")]
    pub(super) fn hear(&self, said: &Statistics) {
        let mut numbers = ClientNumbers::default();
        for broker in said.brokers.values() {
            let mut add = |fault: LinkFault, times: u64| numbers.faults[fault as usize] += times;
            add(LinkFault::Send, broker.txerrs);
            add(LinkFault::Receive, broker.rxerrs);
            add(LinkFault::Timeout, broker.req_timeouts);
            let lost = broker.disconnects.and_then(|times| u64::try_from(times).ok());
            add(LinkFault::Disconnect, lost.unwrap_or(0));
            let slow = broker.rtt.as_ref().and_then(|window| u64::try_from(window.p99).ok());
            numbers.round_trip_micros = numbers.round_trip_micros.max(slow.unwrap_or(0));
        }
        let fetched = said.topics.values().flat_map(|topic| topic.partitions.values());
        // All partitions put what is fetched into one queue, and each tells of the whole of it.
        let fetched = fetched.map(|partition| partition.fetchq_size).max();
        numbers.queued_bytes = said.msg_size + fetched.unwrap_or(0);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = numbers;
    }

    /// The newest numbers; zeros before the first.
    pub(super) fn numbers(&self) -> ClientNumbers {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::statistics::{Broker, Partition, Topic, Window};

    #[test]
    fn faults_add_up_and_the_slowest_broker_counts() {
        let window = |p99| Some(Window { p99, ..Window::default() });
        let broker = |p99, req_timeouts, disconnects| Broker {
            rtt: window(p99),
            req_timeouts,
            disconnects: Some(disconnects),
            ..Broker::default()
        };
        let partition = |fetchq_size| Partition { fetchq_size, ..Partition::default() };
        let partitions = [(0, partition(70)), (1, partition(70))].into_iter().collect();
        let topic = Topic { partitions, ..Topic::default() };
        let mut said = rdkafka::Statistics { msg_size: 1_000, ..Default::default() };
        said.brokers.insert("a".to_owned(), broker(800, 2, 1));
        said.brokers.insert("b".to_owned(), broker(5_000, 1, 3));
        said.topics.insert("t".to_owned(), topic);
        let vitals = Vitals::default();
        vitals.hear(&said);
        let numbers = vitals.numbers();
        assert_eq!(numbers.queued_bytes, 1_070);
        assert_eq!(numbers.round_trip_micros, 5_000);
        assert_eq!(numbers.faults, [0, 0, 3, 4]);
    }
}
