//! Stands where the carriers of a log on Kafka would be, in a build without it.

use crate::actor::handle::KwqHandle;
use crate::config::Config;
use crate::log::Error;

/// There is nothing to carry.
pub(super) struct Carriers;

impl Carriers {
    pub(super) fn start(_: &Config, _: &str, _: &KwqHandle) -> Result<Self, Error> {
        Ok(Self)
    }

    pub(super) fn refuse_tasks(&mut self) {}

    pub(super) fn stop(self) {}
}
