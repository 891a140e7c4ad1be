//! Models of kwq's protocols. Each is explored exhaustively within the bounds it states, and finds
//! each of the mistakes that can be planted in it: a model that finds nothing proves nothing.

pub mod changelog;
pub mod ownership;
