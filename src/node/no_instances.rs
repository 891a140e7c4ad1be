//! Stands where the other instances would be, in a build that cannot share a log.

use crate::actor::handle::KwqHandle;
use crate::actor::shard::Spawner;
use crate::config::Config;
use std::io;

/// Nobody listens.
pub(super) struct Listening;

impl Listening {
    pub(super) fn bind(_: &Config) -> Result<Self, super::Error> {
        Ok(Self)
    }

    pub(super) fn addr(&self) -> Option<&str> {
        None
    }
}

/// `node.id`, or the host's name.
pub(super) fn name(config: &Config, host: String, _: u64) -> io::Result<String> {
    Ok(config.instance.id.as_ref().map_or(host, ToString::to_string))
}

/// There are no others.
pub(super) struct Instances;

impl Instances {
    pub(super) fn start(
        _: &Config,
        _: &str,
        _: &KwqHandle,
        _: Listening,
        _: Vec<Spawner>,
    ) -> Result<Self, super::Error> {
        Ok(Self)
    }

    pub(super) fn has_others(&self) -> bool {
        false
    }

    pub(super) fn leave(&mut self) {}

    pub(super) fn close(self) {}
}
