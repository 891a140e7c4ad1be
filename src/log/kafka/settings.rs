//! Settings of topics that were there already, compared with what an acknowledgement of kwq needs:
//! an administrator's defaults delete records after a week.
//!
//! Must not: change anything. What differs is said, and makes durability *reduced*.

use crate::log::Error;
use crate::log::kafka::client::{Cluster, VALUE_BYTES_MAX, administration};
use crate::log::kafka::topics::{PATIENCE, Topics, block_on};
use crate::model::priority::Priority;
use rdkafka::admin::{AdminOptions, ConfigResource, ResourceSpecifier};
use rdkafka::error::RDKafkaErrorCode;

/// A setting, and what it must be.
struct Rule {
    name: &'static str,
    fits: fn(&str) -> bool,
    /// What it does as it is, and what it is to be.
    say: &'static str,
}

/// Goes with the number of copies: of too few it is said that they are.
const IN_SYNC: &str = "min.insync.replicas";
/// Batches of kwq must fit.
const LARGEST: &str = "max.message.bytes";

/// What keeps what was acknowledged.
const RULES: [Rule; 6] = [
    Rule {
        name: "cleanup.policy",
        fits: |value| value == "delete",
        say: "compaction drops records without a key: set delete",
    },
    Rule {
        name: "retention.ms",
        fits: |value| value == "-1",
        say: "older records are deleted: set -1",
    },
    Rule {
        name: "retention.bytes",
        fits: |value| value == "-1",
        say: "records beyond that are deleted: set -1",
    },
    Rule {
        name: IN_SYNC,
        fits: |value| value.parse().is_ok_and(|copies: u32| copies >= 2),
        say: "what one broker has is acknowledged: set 2",
    },
    Rule {
        name: "unclean.leader.election.enable",
        fits: |value| value == "false",
        say: "a broker that lags behind may become leader and drop the rest: set false",
    },
    Rule {
        name: LARGEST,
        fits: |value| value.parse().is_ok_and(|bytes: usize| bytes >= VALUE_BYTES_MAX),
        say: "larger batches are refused: set 67108864",
    },
];

/// What is not as it must be, a line for each setting and value; `copies`: there are enough of each
/// record. A cluster that does not let kwq look is said in the log, and nothing is known.
///
/// # Errors
/// `Io` = no client can be had.
pub(super) fn differences(
    cluster: &Cluster,
    topics: &Topics,
    copies: bool,
) -> Result<Vec<String>, Error> {
    let admin = administration(cluster)?;
    let mut names = vec![topics.changelog(), topics.commands()];
    if topics.inboxes {
        names.extend(Priority::ASCENDING.map(|level| topics.inbox(level)));
    }
    let asked: Vec<_> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let told = match block_on(admin.describe_configs(&asked, &options)) {
        Ok(told) => told,
        Err(error) => {
            tracing::warn!(%error, "settings of topics are not compared");
            return Ok(Vec::new());
        }
    };
    let mut found = Vec::new();
    for (name, told) in names.iter().zip(told) {
        match told {
            Ok(resource) => found.extend(wrong(name, &resource, &topics.changelog(), copies)),
            // One can do without: it was said that it is missing.
            Err(RDKafkaErrorCode::UnknownTopicOrPartition) => {}
            Err(code) => {
                let needs = "the right DescribeConfigs, if that is what is missing";
                tracing::warn!(topic = name, %code, needs, "its settings are not compared");
            }
        }
    }
    Ok(lines(found))
}

/// Setting, value and topic, of each rule that does not hold.
type Found = (usize, String, String);

fn wrong(name: &str, resource: &ConfigResource, changelog: &str, copies: bool) -> Vec<Found> {
    let value = |rule: &Rule| resource.get(rule.name).and_then(|entry| entry.value.clone());
    let rules = RULES.iter().enumerate();
    // What producers may write into an inbox is their own affair.
    let rules = rules.filter(|(_, rule)| rule.name != LARGEST || name == changelog);
    let rules = rules.filter(|(_, rule)| rule.name != IN_SYNC || copies);
    let wrong = rules.filter_map(|(at, rule)| {
        value(rule).filter(|value| !(rule.fits)(value)).map(|value| (at, value, name.to_owned()))
    });
    wrong.collect()
}

fn lines(mut found: Vec<Found>) -> Vec<String> {
    found.sort();
    let same = |a: &Found, b: &Found| (a.0, &a.1) == (b.0, &b.1);
    let groups = found.chunk_by(same);
    let line = |group: &[Found]| {
        let (at, value, _) = group.first()?;
        let names: Vec<&str> = group.iter().map(|(_, _, name)| name.as_str()).collect();
        let Rule { name, say, .. } = &RULES[*at];
        Some(format!("{name} is {value} on {}: {say}", names.join(", ")))
    };
    groups.filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::admin::{ConfigEntry, ConfigSource, OwnedResourceSpecifier};

    fn topic(settings: &[(&str, &str)]) -> ConfigResource {
        let entry = |(name, value): &(&str, &str)| ConfigEntry {
            name: (*name).to_owned(),
            value: Some((*value).to_owned()),
            source: ConfigSource::Default,
            is_read_only: false,
            is_default: true,
            is_sensitive: false,
        };
        let specifier = OwnedResourceSpecifier::Topic("t".to_owned());
        ConfigResource { specifier, entries: settings.iter().map(entry).collect() }
    }

    #[test]
    fn defaults_that_delete_records_are_said_once_for_all_topics() {
        let week = [("retention.ms", "604800000"), ("cleanup.policy", "delete")];
        let found =
            ["K-changelog", "K-1"].map(|name| wrong(name, &topic(&week), "K-changelog", true));
        let said = lines(found.concat());
        let one =
            "retention.ms is 604800000 on K-1, K-changelog: older records are deleted: set -1";
        assert_eq!(said, [one]);
    }

    #[test]
    fn what_kwq_makes_itself_is_fine_and_a_small_inbox_is_the_producers_affair() {
        let bytes = VALUE_BYTES_MAX.to_string();
        let own = [
            ("cleanup.policy", "delete"),
            ("retention.ms", "-1"),
            ("retention.bytes", "-1"),
            ("max.message.bytes", &bytes),
            ("unclean.leader.election.enable", "false"),
        ];
        assert!(wrong("K-changelog", &topic(&own), "K-changelog", true).is_empty());
        let one = topic(&[("min.insync.replicas", "1")]);
        assert_eq!(wrong("K-1", &one, "K-changelog", true).len(), 1);
        assert!(wrong("K-1", &one, "K-changelog", false).is_empty(), "there is one copy only");
        let small = topic(&[("max.message.bytes", "1048588")]);
        assert!(wrong("K-1", &small, "K-changelog", true).is_empty());
        assert_eq!(wrong("K-changelog", &small, "K-changelog", true).len(), 1);
    }
}
