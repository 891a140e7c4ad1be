//! How Kafka is reached: what the settings of its client must have to do with each other. The
//! client itself passes over what it does not use, a password included.

/// What librdkafka speaks: its name, whether it has TLS, whether it has SASL.
const PROTOCOLS: [(&str, bool, bool); 4] = [
    ("plaintext", false, false),
    ("ssl", true, false),
    ("sasl_plaintext", false, true),
    ("sasl_ssl", true, true),
];

/// What a good value looks like.
const GOOD: &str = "must be HOST:PORT,…, e.g. kafka-1:9092,kafka-2:9092";

/// Why brokers cannot be reached as they are named.
pub(super) fn unreachable(brokers: &str, protocol: &str) -> Option<String> {
    brokers.split(',').find_map(|broker| wrong(broker.trim(), protocol))
}

fn wrong(broker: &str, protocol: &str) -> Option<String> {
    let (scheme, rest) = match broker.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, broker),
    };
    let fits = |scheme: &str| scheme.eq_ignore_ascii_case(protocol);
    if let Some(scheme) = scheme.filter(|scheme| !fits(scheme)) {
        let known = PROTOCOLS.iter().find(|(name, ..)| scheme.eq_ignore_ascii_case(name));
        let more = match known {
            Some((name, ..)) => format!("; {name}:// needs kafka.security-protocol={name}"),
            None => format!("; Kafka is not reached by {scheme}://"),
        };
        return Some(format!("{GOOD}{more}"));
    }
    let port = rest.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    port.is_none_or(|port| port == 0).then(|| GOOD.to_owned())
}

/// Why a setting of TLS or of SASL that was given would not be used.
pub(super) fn unused(name: &str, protocol: &str) -> Option<String> {
    let named = |known: &&(&str, bool, bool)| known.0.eq_ignore_ascii_case(protocol);
    let known = PROTOCOLS.iter().find(named);
    let (tls, sasl) = (name.starts_with("ssl-"), name.starts_with("sasl-"));
    let used =
        |(_, has_tls, has_sasl): &(&str, bool, bool)| (!tls || *has_tls) && (!sasl || *has_sasl);
    if known.is_some_and(used) || !(tls || sasl) {
        return None;
    }
    let fit: Vec<_> = PROTOCOLS.iter().filter(|of| used(of)).map(|(name, ..)| *name).collect();
    let fit = fit.join(" or ");
    Some(format!("is not used with kafka.security-protocol={protocol}: set that to {fit}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_hosts_with_ports() {
        for (good, protocol) in [
            ("localhost:9092", "plaintext"),
            ("a:1, b:2", "sasl_ssl"),
            ("[::1]:9092", "plaintext"),
            ("PLAINTEXT://a:1", "plaintext"),
            ("sasl_ssl://a:1,b:2", "SASL_SSL"),
        ] {
            assert_eq!(unreachable(good, protocol), None, "{good}");
        }
        for (bad, told) in [
            ("http://kafka:9092", "by http://"),
            ("a:1,https://b:2", "by https://"),
            ("://a:1", "HOST:PORT"),
            ("sasl_ssl://a:1", "needs kafka.security-protocol=sasl_ssl"),
            ("plaintext://a", "HOST:PORT"),
            ("a", "HOST:PORT"),
            ("a:1,", "HOST:PORT"),
            ("a:0", "HOST:PORT"),
            ("a:b", "HOST:PORT"),
        ] {
            let reason = unreachable(bad, "plaintext").expect(bad);
            assert!(reason.contains(told) && reason.contains("e.g. kafka-1:9092"), "{reason}");
        }
    }

    #[test]
    fn credentials_that_would_not_be_sent_are_refused() {
        let told = |name, protocol| unused(name, protocol).unwrap_or_default();
        let plain = told("sasl-password", "plaintext");
        assert!(plain.contains("kafka.security-protocol=plaintext"), "{plain}");
        assert!(plain.ends_with("set that to sasl_plaintext or sasl_ssl"), "{plain}");
        assert!(told("sasl-mechanism", "ssl").ends_with("sasl_plaintext or sasl_ssl"));
        assert!(told("ssl-ca-location", "sasl_plaintext").ends_with("ssl or sasl_ssl"));
        for (name, protocol) in [
            ("sasl-username", "SASL_PLAINTEXT"),
            ("sasl-username", "sasl_ssl"),
            ("ssl-key-location", "ssl"),
            ("security-protocol", "plaintext"),
        ] {
            assert_eq!(unused(name, protocol), None, "{name} {protocol}");
        }
    }
}
