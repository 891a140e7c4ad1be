//! Members of the group that are no instances of kwq.

use super::{OURS, name};
use crate::log::Error;
use crate::log::kafka::client::{Cluster, administration, unreached};
use crate::log::kafka::topics::Topics;
use std::time::Duration;

/// Nobody else's work waits for the answer for longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who is in the group of the instances and none of them, with their addresses: a partition that
/// the group gives to such a member has no owner.
///
/// # Errors
/// `Io`: the cluster does not tell within 2 s.
pub fn strangers(cluster: &Cluster, topics: &Topics) -> Result<Vec<String>, Error> {
    let admin = administration(cluster)?;
    let told = admin.inner().fetch_group_list(Some(&name(topics)), PATIENCE);
    let told = told.map_err(|e| unreached(cluster, &e))?;
    let members = told.groups().iter().flat_map(|group| group.members());
    let others = members.filter(|member| !member.client_id().starts_with(OURS));
    Ok(others.map(|member| format!("{}{}", member.client_id(), member.client_host())).collect())
}
