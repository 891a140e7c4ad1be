//! What this build has not: the log on Kafka.

/// `log.backend=kafka` is refused.
pub(super) const KAFKA: bool = false;
