//! What this build has: the log on Kafka.

/// `log.backend=kafka` may be asked for.
pub(super) const KAFKA: bool = true;
