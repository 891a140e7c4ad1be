//! Layers, origins, refusals.

use super::load::{Layers, load_from};
use super::*;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn set(key: &str, value: &str) -> Vec<(String, String)> {
    vec![(key.to_owned(), value.to_owned())]
}

const ON_KAFKA: &str = "kafka";

fn refused(key: &str, value: &str) -> Error {
    let mut errors =
        load_from(&[], None, &env(&[]), &set(key, value)).expect_err("must be refused");
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors.remove(0)
}

/// A file of its own per test, removed at the end.
struct TempFile(std::path::PathBuf);

impl TempFile {
    fn with(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kwq-{}-{name}", std::process::id()));
        fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap();
    }
}

#[test]
fn the_embedded_file_is_the_default_and_agrees_with_the_model() {
    let config = Config::default();
    let loaded = load_from(&[], None, &env(&[]), &[]).unwrap();
    assert_eq!(format!("{config:?}"), format!("{:?}", loaded.config));
    // Alone, a partition deals nothing to others.
    let policy = Policy { partitions: config.log.partitions, ..Policy::default() };
    assert_eq!(format!("{:?}", config.policy), format!("{policy:?}"));
    use crate::model::limits as bound;
    assert_eq!(config.poll.default_wait_ms, bound::WAIT_MS);
    assert_eq!(config.limits.body, bound::BODY_BYTES);
    assert_eq!(config.limits.batch_body, bound::BATCH_BODY_BYTES);
    assert_eq!(config.limits.batch_items, bound::BATCH_ITEMS);
    assert_eq!(config.limits.payload, bound::PAYLOAD_BYTES);
    assert_eq!(config.limits.result, bound::RESULT_BYTES);
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8080");
    assert_eq!((config.log.partitions, config.log.segment_bytes), (3, 128 << 20));
    assert_eq!(config.log.disk_reserve, None);
    assert!(config.memory_limit_bytes > 64 << 20);
    assert!(config.durability_reasons().is_empty());
}

#[test]
fn a_later_layer_wins_and_its_origin_is_told() {
    let file = TempFile::with(
        "layers.toml",
        "[log]\npartitions = 4\ndata_dir = \"/f\"\nsegment = \"1MiB\"\n",
    );
    let env = env(&[("KWQ_LOG__DATA_DIR", "/e"), ("KWQ_LOG__SEGMENT", "2MiB"), ("KWQ_URL", "x")]);
    let loaded = load_from(&[], Some(&file.0), &env, &set("log.segment", "3MiB")).unwrap();
    assert_eq!(loaded.config.log.partitions, 4);
    assert_eq!(loaded.config.log.data_dir, Path::new("/e"));
    assert_eq!(loaded.config.log.segment_bytes, 3 << 20);
    let origin = |key: &str| loaded.origins[key].1.clone();
    assert_eq!(origin("log.partitions"), Origin::File(file.0.clone()));
    assert_eq!(origin("log.data-dir"), Origin::Env("KWQ_LOG__DATA_DIR".to_owned()));
    assert_eq!(loaded.origins["log.segment"], ("3MiB".to_owned(), Origin::Flag));
    assert_eq!(origin("http.listen"), Origin::Default);
}

#[test]
fn an_environment_variable_may_name_a_file() {
    let secret = TempFile::with("value", "7\n");
    let path = secret.0.to_str().unwrap();
    let loaded = load_from(&[], None, &env(&[("KWQ_JOB__PRIORITY_FILE", path)]), &[]).unwrap();
    assert_eq!(loaded.config.job.priority, 7);
    let gone = load_from(&[], None, &env(&[("KWQ_JOB__PRIORITY_FILE", "/no/such")]), &[]);
    assert_eq!(gone.unwrap_err()[0].code(), "config_unreadable");
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_name() {
    let error = refused("log.partitons", "3");
    assert_eq!(error.code(), "config_unknown_key");
    assert_eq!(error.help(), "did you mean `log.partitions`?");
    assert_eq!(refused("data_dir", "x").help(), "did you mean `log.data-dir`?");
    assert_eq!(refused("numPartitions", "3").help(), "did you mean `log.partitions`?");
    assert_eq!(refused("kafka.status-feed", "true").help(), "did you mean `topics.status`?");
    assert!(refused("quite.different-thing", "1").help().contains("config default"));
    let wrong = load_from(&[], None, &env(&[("KWQ_LOG__DATADIR", "x")]), &[]).unwrap_err();
    assert_eq!(wrong[0].help(), "did you mean `log.data-dir`?");
}

#[test]
fn a_key_of_a_later_feature_is_not_silently_accepted() {
    for (key, value) in
        [("http.tls-cert", "/c"), ("http.http2", "true"), ("log.lease-gate", "relaxed")]
    {
        assert_eq!(refused(key, value).code(), "config_not_in_this_build", "{key}");
    }
}

#[test]
fn values_are_checked_with_their_unit_and_range() {
    for (key, value) in [
        ("log.partitions", "0"),
        ("affinity.head-every", "0"),
        ("queue.age-step", "5"),
        ("queue.age-max", "9"),
        ("queue.low-floor", "0.6"),
        ("queue.low-floor", "-1"),
        ("queue.low-floor", "NaN"),
        ("affinity.head-every", "1001"),
        ("affinity.learned-keys", "65"),
        ("log.partitions", "1025"),
        ("log.partitions", "three"),
        ("log.segment", "128"),
        ("log.segment", "5GiB"),
        ("lease.default", "10ms"),
        ("lease.default", "30"),
        ("retry.max-attempts", "101"),
        ("retry.enabled", "yes"),
        ("queue.share", "FAIR"),
        ("job.priority", "10"),
        ("http.listen", "8080"),
        ("http.idle", "18446744073709551615d"),
        ("limits.payload", "1MiB"),
        ("limits.body", "64KiB"),
        ("limits.batch-body", "512KiB"),
        ("retry.base", "6m"),
        ("log.data-dir", ""),
    ] {
        let error = refused(key, value);
        assert_eq!(error.code(), "config_invalid_value", "{key} = {value}: {error}");
        assert!(error.to_string().contains(key), "{error}");
    }
    let text = refused("lease.default", "13h").to_string();
    assert_eq!(text, "`lease.default` = `13h`: must be 1s to 43200s (command line)");
}

#[test]
fn a_wide_listener_needs_the_word_for_it() {
    let error = refused("http.listen", "0.0.0.0:8080");
    assert_eq!(error.code(), "config_insecure_listen");
    assert!(error.help().contains("--insecure-no-auth"));
    assert_eq!(refused("http.listen", "[::ffff:10.0.0.1]:80").code(), "config_insecure_listen");
    let mut sets = set("http.listen", "0.0.0.0:8080");
    sets.extend(set("auth.insecure_no_auth", "true"));
    assert!(load_from(&[], None, &env(&[]), &sets).unwrap().config.insecure_no_auth);
    for local in ["[::1]:80", "127.0.0.2:80", "localhost:80", "[::ffff:127.0.0.1]:80"] {
        assert!(load_from(&[], None, &env(&[]), &set("http.listen", local)).is_ok(), "{local}");
    }
}

#[test]
fn strict_refuses_reduced_durability() {
    let mut sets = set("log.durability", "os");
    let config = load_from(&[], None, &env(&[]), &sets).unwrap().config;
    assert_eq!(config.durability_reasons(), ["log.durability=os"]);
    sets.extend(set("log.strict", "true"));
    let errors = load_from(&[], None, &env(&[]), &sets).unwrap_err();
    assert!(errors[0].to_string().contains("log.durability=os"), "{errors:?}");
}

#[test]
fn checking_a_file_finds_everything() {
    let text = "lonely = 1\n[log]\npartitions = \"3\"\nsegment = 5\n[http]\nhttp2 = true\n\
                listen = ['a']\nidle = '1'\n";
    let file = TempFile::with("bad.toml", text);
    let codes: Vec<&str> = check_file(&file.0).unwrap_err().iter().map(Error::code).collect();
    let count = |code: &str| codes.iter().filter(|c| **c == code).count();
    assert_eq!(count("config_invalid_value"), 4, "{codes:?}");
    assert_eq!((count("config_unknown_key"), count("config_not_in_this_build")), (1, 1));
    let broken = TempFile::with("broken.toml", "[log\n");
    assert_eq!(check_file(&broken.0).unwrap_err()[0].code(), "config_unreadable");
    assert_eq!(check_file(Path::new("/no/such")).unwrap_err()[0].code(), "config_unreadable");
    let good = TempFile::with("good.toml", default_text());
    check_file(&good.0).unwrap();
}

#[test]
fn every_key_of_the_file_changes_the_configuration() {
    let other = |text: &str| match text {
        "true" => "false",
        "false" => "true",
        "fair" => "fifo",
        "full" => "none",
        "fsync" => "os",
        "durable" => "relaxed",
        "info" => "debug",
        "./kwq-data" => "/elsewhere",
        "127.0.0.1:8080" | "localhost:9092" | "" => "127.0.0.1:9",
        "embedded" => "kafka",
        _ => "2",
    };
    let several = [ON_KAFKA, "sixteen-and-more", "127.0.0.1:9"];
    for key in Layers::new().keys() {
        let beside = match key.as_str() {
            node if node.starts_with("node.") => set("log.backend", ON_KAFKA),
            safe if ["kafka.sasl-", "kafka.ssl-"].iter().any(|of| safe.starts_with(of)) => {
                set("kafka.security-protocol", "sasl_ssl")
            }
            _ => vec![],
        };
        let before = load_from(&[], None, &env(&[]), &beside).unwrap();
        let default = before.origins[&key].0.clone();
        let tries = [other(&default), "3", "0.5", "7s", "777KiB", "7MiB", "8MiB", "text", "2000"];
        let changed = tries.iter().chain(&several).any(|value| {
            load_from(&[], None, &env(&[]), &[beside.clone(), set(&key, value)].concat()).is_ok_and(
                |loaded| format!("{:?}", loaded.config) != format!("{:?}", before.config),
            )
        });
        // One word only, until there is a second one.
        let single = ["log.lease-gate", "memory.limit"].contains(&key.as_str());
        assert!(changed || single, "{key} is read by nobody");
    }
    let memory = load_from(&[], None, &env(&[]), &set("memory.limit", "1GiB")).unwrap();
    assert_eq!(memory.config.memory_limit_bytes, 1 << 30);
}

#[test]
fn total_memory_is_read_from_meminfo() {
    let text = "MemFree: 1 kB\nMemTotal:       16384 kB\n";
    assert_eq!(super::memory::total_bytes(text), Some(16 << 20));
    assert_eq!(super::memory::total_bytes("nothing"), None);
}

#[test]
fn a_wide_listener_needs_tokens_or_a_word_that_it_is_meant() {
    let wide = ("http.listen", "0.0.0.0:8080");
    assert_eq!(refused(wide.0, wide.1).code(), "config_insecure_listen");
    let with = |key: &str, value: &str| {
        let sets = [set(wide.0, wide.1), set(key, value)].concat();
        load_from(&[], None, &env(&[]), &sets).unwrap().config
    };
    let tokens = with("auth.tokens-file", "/etc/kwq/tokens");
    assert_eq!(tokens.tokens_file.as_deref(), Some(Path::new("/etc/kwq/tokens")));
    assert!(!tokens.insecure());
    assert!(with("auth.insecure-no-auth", "true").insecure());
    let env = env(&[("KWQ_AUTH__TOKENS_FILE", "/t")]);
    let both = load_from(&[], None, &env, &set("auth.insecure-no-auth", "true")).unwrap();
    assert!(!both.config.insecure(), "tokens win");
}

/// With the log on Kafka.
fn several(pairs: &[(&str, &str)]) -> Result<Config, Vec<Error>> {
    let mut sets = set("log.backend", ON_KAFKA);
    pairs.iter().for_each(|(key, value)| sets.extend(set(key, value)));
    load_from(&[], None, &env(&[]), &sets).map(|loaded| loaded.config)
}

const SECRET: &str = "a-secret-of-24-characters";

#[test]
fn instances_have_names_and_addresses_that_others_can_use() {
    let config = several(&[("node.id", "kwq-1"), ("kafka.session-timeout", "6s")]).unwrap();
    assert_eq!(config.instance.id.as_deref(), Some("kwq-1"));
    assert_eq!(config.kafka.session_ms, 6_000);
    assert_eq!(Config::default().instance.id, None);
    let long = "n".repeat(129);
    for id in ["a b", "a@b", "a/b", "a\u{7}", &long] {
        assert_eq!(several(&[("node.id", id)]).unwrap_err()[0].code(), "config_invalid_value");
    }
    for time in ["5s", "61s"] {
        assert!(several(&[("kafka.session-timeout", time)]).is_err(), "{time}");
    }
    let bound = "10.0.0.7:4711".parse().unwrap();
    for (address, complete) in [
        ("", "10.0.0.7:4711"),
        ("host.example", "host.example:4711"),
        ("host.example:80", "host.example:80"),
        ("10.1.1.1", "10.1.1.1:4711"),
        ("10.1.1.1:80", "10.1.1.1:80"),
        ("fe80::1", "[fe80::1]:4711"),
        ("[fe80::1]", "[fe80::1]:4711"),
        ("[fe80::1]:80", "[fe80::1]:80"),
    ] {
        let config = several(&[("node.address", address)]).expect(address);
        assert_eq!(config.instance.address_for(bound), complete);
    }
    for bad in ["h:0", "h:99999", ":80", "a b", "u@h", "http://h", "h/p", "[h]:1", "0.0.0.0:80"] {
        assert!(several(&[("node.address", bad)]).is_err(), "{bad}");
    }
}

#[test]
fn a_wide_listener_for_instances_needs_their_secret() {
    let wide = [("node.internal-listen", "10.0.0.7:0")];
    let errors = several(&wide).unwrap_err();
    assert_eq!(errors[0].code(), "config_insecure_listen");
    let told = format!("{} {}", errors[0], errors[0].help());
    for word in ["node.internal-listen", "10.0.0.7:0", "node.secret", "127.0.0.1:0"] {
        assert!(told.contains(word), "{told}");
    }
    several(&[wide[0], ("node.secret", SECRET)]).unwrap();
    several(&[("node.internal-listen", "[::1]:7000")]).unwrap();
    // All addresses of a machine are no address of it.
    let all = [("node.internal-listen", "0.0.0.0:0"), ("node.secret", SECRET)];
    assert!(several(&all).unwrap_err()[0].to_string().contains("node.address"));
    several(&[all[0], all[1], ("node.address", "h")]).unwrap();
}

#[test]
fn several_instances_need_the_log_on_kafka() {
    for (key, value) in
        [("node.internal-listen", "127.0.0.1:7000"), ("node.address", "h"), ("node.secret", SECRET)]
    {
        let text = refused(key, value).to_string();
        assert!(text.contains(key) && text.contains("log.backend=kafka"), "{text}");
        several(&[(key, value)]).unwrap();
    }
    assert!(load_from(&[], None, &env(&[]), &set("node.id", "a")).is_ok());
}

/// A start in plain text that passes over a password is worse than none.
#[test]
fn settings_of_kafka_that_would_not_be_used_are_refused() {
    let told = refused("kafka.sasl-password", SECRET).to_string();
    assert!(told.contains("`kafka.sasl-password`") && !told.contains(SECRET), "{told}");
    assert!(told.contains("set that to sasl_plaintext or sasl_ssl"), "{told}");
    let tls = [("kafka.sasl-username", "kwq"), ("kafka.security-protocol", "ssl")];
    assert_eq!(several(&tls).unwrap_err().len(), 1);
    let both = [tls[0], ("kafka.security-protocol", "sasl_plaintext")];
    let config = several(&both).unwrap();
    assert!(config.kafka.properties.contains(&("sasl.username".into(), "kwq".into())));
    let told = refused("kafka.bootstrap-servers", "http://kafka.example:9092").to_string();
    assert!(told.contains("e.g. kafka-1:9092") && told.contains("by http://"), "{told}");
}

#[test]
fn a_secret_is_shown_nowhere() {
    let config = several(&[("node.secret", SECRET)]).unwrap();
    assert_eq!(config.instance.secret.as_deref(), Some(SECRET));
    assert!(!format!("{config:?}").contains(SECRET));
    for (key, hidden) in [("node.secret", true), ("kafka.sasl-password", true), ("node.id", false)]
    {
        assert_eq!(shown(key, SECRET) != SECRET, hidden, "{key}");
        assert_eq!(shown(key, ""), "");
    }
    let mut told = vec![refused("node.secret", SECRET), refused("node.secret", "too-short")];
    for text in ["[node]\nsecret = 4711471147114711\n", "[node]\nsecret = 'too-short\n"] {
        let file = TempFile::with(&format!("secret-{}.toml", text.len()), text);
        told.extend(check_file(&file.0).unwrap_err());
    }
    assert_eq!(told.len(), 4);
    for error in told {
        let text = format!("{error} {}", error.help());
        let seen = [SECRET, "too-short", "4711"].iter().any(|secret| text.contains(secret));
        assert!(!seen, "{text}");
    }
}
