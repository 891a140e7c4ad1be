//! A record as `kwq log dump` shows it.
