//! `node.*`: who this instance is, and how others that share its changelog reach it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// `node.*`.
#[derive(Clone)]
pub struct Instance {
    /// `node.id`; `None` = the name of the host, on Kafka with a mark of the data directory.
    pub id: Option<String>,
    /// `node.internal-listen`: where other instances are listened to.
    pub internal_listen: SocketAddr,
    /// `node.address` as written; [`Instance::address_for`] makes it complete.
    pub address: Option<String>,
    /// `node.secret`: what all instances know and nobody else.
    pub secret: Option<String>,
}

impl Instance {
    /// Under which address other instances reach the listener that was bound to `listener`.
    #[must_use]
    pub fn address_for(&self, listener: SocketAddr) -> String {
        let Some(address) = &self.address else { return listener.to_string() };
        let port = listener.port();
        if let Ok(ip) = address.trim_matches(['[', ']']).parse::<IpAddr>() {
            return SocketAddr::new(ip, port).to_string();
        }
        if address.contains(':') { address.clone() } else { format!("{address}:{port}") }
    }
}

/// The secret is not shown, only that there is one.
impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance")
            .field("id", &self.id)
            .field("internal_listen", &self.internal_listen)
            .field("address", &self.address)
            .field("secret", &self.secret.as_ref().map(|_| super::load::HIDDEN))
            .finish()
    }
}

/// Is it a host, or a host and a port, that others could connect to?
pub(super) fn is_address(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        // Of a bare address of IPv6 the last colon is a part.
        Some(_) if text.parse::<IpAddr>().is_ok() => (text, None),
        Some(_) if text.ends_with(']') => (text, None),
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let ip = match bracketed {
        Some(inner) => inner.parse::<IpAddr>().ok().filter(IpAddr::is_ipv6),
        None => host.parse::<IpAddr>().ok(),
    };
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    port && match ip {
        Some(ip) => !ip.is_unspecified(),
        None => !host.is_empty() && host.len() <= 253 && host.chars().all(named),
    }
}
