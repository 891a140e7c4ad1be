//! Stands where the log on Kafka would be, in a build without it. The configuration refuses the
//! back end before anybody comes here.

use crate::actor::node::OpenLog;
use crate::config::Config;
use crate::log::Error;
use std::sync::Arc;

/// Refuses.
pub(super) fn opener(_: &Config, _: &str) -> OpenLog {
    Arc::new(|| Err(Error::Settings("this build has no Kafka: build with --features kafka".into())))
}
