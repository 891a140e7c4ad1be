//! Torn tails and damage.
