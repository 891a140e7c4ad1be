//! Plain columns of a partition: what `core` can rebuild itself from without the log before `position`.
