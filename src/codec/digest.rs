//! SHA-256 of payloads.
