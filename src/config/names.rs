//! Names that are no keys of this build: features to come, renamed ones, nearest spelling.

/// Keys of the design that nothing in this build reads: (key, or prefix ending in `.`; feature).
const LATER: &[(&str, &str)] = &[
    ("http.tls-cert", "TLS"),
    ("http.tls-key", "TLS"),
    ("http.tls-client-ca", "client certificates"),
    ("http.http2", "HTTP/2"),
    ("http.ops-listen", "the listener for operations"),
];

/// Properties of the original and keys of the design that became others, and what they are called
/// here.
const RENAMED: &[(&str, &str)] = &[
    ("bootstrap.servers", "kafka.bootstrap-servers"),
    ("kwq.rest.port", "http.listen"),
    ("prefix", "topics.prefix"),
    ("numPartitions", "log.partitions"),
    ("numReplicas", "topics.replication"),
    ("task.history.size", "tracker.recent"),
    ("kafka.status-feed", "topics.status"),
];

/// The feature a key belongs to, if that feature is not in this build.
pub(super) fn later(key: &str) -> Option<&'static str> {
    let fits = |name: &str| key == name || (name.ends_with('.') && key.starts_with(name));
    LATER.iter().find(|(name, _)| fits(name)).map(|(_, feature)| *feature)
}

/// The known key that is meant, if one is near enough.
pub(super) fn nearest<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if let Some((_, new)) = RENAMED.iter().find(|(old, _)| old.replace('_', "-") == key) {
        return Some(new);
    }
    let last = |name: &'a str| name.rsplit('.').next().unwrap_or(name);
    let mut best: Option<(usize, &str)> = None;
    for name in known {
        let by_last = if key == last(name) { 0 } else { usize::MAX };
        let far = distance(key, name).min(by_last);
        if best.is_none_or(|(least, _)| far < least) {
            best = Some((far, name));
        }
    }
    best.filter(|(far, name)| *far <= name.len() / 3).map(|(_, name)| name)
}

/// Levenshtein distance by bytes; keys are short ASCII words.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let cost = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
