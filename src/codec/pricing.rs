//! JSON of the pricing demo: payload, result and the lines of the portfolio file. Shapes only: what
//! a value means and which values make sense is decided in `sim::pricing`.

use serde::{Deserialize, Serialize};

/// Right to buy or to sell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptionKind {
    /// Right to buy.
    Call,
    /// Right to sell.
    Put,
}

/// Payload of a pricing task, member for member.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptionTask {
    /// Trade id.
    pub trade: String,
    /// Call or put.
    #[serde(rename = "type")]
    pub kind: OptionKind,
    /// Price of the underlying now.
    pub spot: f64,
    /// Strike.
    pub strike: f64,
    /// Zero rate to expiry, continuously compounded, per year.
    pub rate: f64,
    /// Volatility per square root of a year.
    pub vol: f64,
    /// Time to expiry.
    pub years: f64,
    /// Seed of the random numbers.
    pub seed: u64,
}

/// Result of a pricing task.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptionResult {
    /// Estimated price.
    pub price: f64,
    /// Standard error of the estimate.
    pub stderr: f64,
}

/// A line of the portfolio file: a trade and how its tasks are labelled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortfolioTrade {
    /// Trade id.
    pub trade: String,
    /// Call or put.
    #[serde(rename = "type")]
    pub kind: OptionKind,
    /// Price of the underlying now.
    pub spot: f64,
    /// Strike.
    pub strike: f64,
    /// Zero rate to expiry, continuously compounded, per year.
    pub rate: f64,
    /// Volatility per square root of a year.
    pub vol: f64,
    /// Time to expiry.
    pub years: f64,
    /// ISO code.
    pub currency: String,
    /// Affinity key of its discount curve, such as `curve=USD-SOFR`.
    pub curve: String,
    /// Tag text of its tasks.
    pub tag: String,
}

/// Reads a payload.
///
/// # Errors
/// What is wrong and where, in words.
pub fn read_task(text: &str) -> Result<OptionTask, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// Reads a result.
///
/// # Errors
/// As [`read_task`].
pub fn read_result(text: &str) -> Result<OptionResult, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// Reads a line of the portfolio file.
///
/// # Errors
/// As [`read_task`].
pub fn read_trade(text: &str) -> Result<PortfolioTrade, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// A payload as JSON text.
///
/// # Errors
/// A number that JSON cannot hold.
pub fn write_task(task: &OptionTask) -> Result<String, String> {
    serde_json::to_string(task).map_err(|error| error.to_string())
}

/// A result as JSON text.
///
/// # Errors
/// As [`write_task`].
pub fn write_result(result: &OptionResult) -> Result<String, String> {
    serde_json::to_string(result).map_err(|error| error.to_string())
}
