//! Round trips, golden bytes, hostile bytes.
