//! stub
use std::time::Duration;
#[derive(Clone)]
pub struct PeerClient;
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    #[error("{0}")]
    Unreached(String),
    #[error("{0}")]
    Unknown(String),
}
impl PeerClient {
    pub async fn call(&self, _: &str, _: Vec<u8>, _: Duration) -> Result<Vec<u8>, PeerError> {
        Err(PeerError::Unreached(String::new()))
    }
}
