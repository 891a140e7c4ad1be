//! What only a real Apache Kafka can show. `KWQ_TEST_KAFKA=host:port` names one; otherwise
//! `broker.py` brings it. Every test has topics of its own.

mod broker;
mod contract;
mod group;
mod log_contract;
mod ownership;
