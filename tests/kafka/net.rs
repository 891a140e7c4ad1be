//! Instances and a broker in networks of their own, between which packets can be lost, one way at a
//! time.
//!
//! ```text
//!   the test itself ── hub, a bridge ──┬── broker       10.231.0.2
//!   10.231.0.1                         ├── instance-0   10.231.0.10
//!                                      └── instance-1   10.231.0.11 …
//! ```
//! The test runs itself again as the first process of namespaces that nobody else has: network,
//! mounts, processes. So nothing of the machine's own network is touched, two runs do not meet, and
//! however it ends the kernel removes all of it, what it has started included.
//!
//! Packets to an address are lost by a permanent neighbour entry with a hardware address that
//! nobody has: without a word to the sender, on old connections as on new ones.

use crate::broker;
use crate::util::wait_until;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Output, Stdio};

/// Says that the test is where it shall be.
const INSIDE: &str = "KWQ_TEST_NAMESPACES";
/// What is needed for it.
const NEEDS: &str = "this test is never skipped. It makes network namespaces: run it as root (in a \
    container with CAP_SYS_ADMIN), or where user namespaces are allowed, with unshare (util-linux) \
    and ip (apt-get install iproute2)";
/// Nobody has it.
const NOWHERE: &str = "02:00:00:00:00:99";
/// Nobody listens there: what arrives is counted, and that is all.
const DISCARD: u16 = 9;
/// A packet that has not arrived by then is lost.
const LOST_MS: u64 = 300;
const ARRIVED_MS: u64 = 3_000;

/// Runs a test where it can make networks: in namespaces of its own, by running the binary again
/// for this test alone. `name` is its path in the binary.
pub(crate) fn apart(name: &str, test: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return test();
    }
    // There is no way out from inside.
    broker::fetch();
    let mut command = Command::new("unshare");
    let root = std::fs::metadata("/proc/self").is_ok_and(|of| of.uid() == 0);
    if !root {
        command.arg("--map-root-user");
    }
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    // `ip netns` keeps its names in /run.
    command.args(["sh", "-c", "mount -t tmpfs none /run && exec \"$@\"", "sh"]);
    command.arg(std::env::current_exe().expect("this binary has a path"));
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(INSIDE, "1");
    let child = command.stdout(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|e| panic!("unshare: {e}; {NEEDS}"));
    let said = BufReader::new(child.stdout.take().expect("piped"));
    // A name that no test has is no failure of the binary.
    let mut tested = false;
    for line in said.lines().map(|line| line.expect("it is text")) {
        tested |= line.starts_with("test result: ok. 1 passed;");
        crate::util::say(&line);
    }
    let ended = child.wait().expect("it ends");
    assert!(ended.success(), "{name}: {ended}. If nothing was tested: {NEEDS}");
    assert!(tested, "there is no test {name}");
}

/// Who has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Broker,
    Instance(usize),
}

impl Place {
    /// Its address.
    pub(crate) fn host(self) -> IpAddr {
        let last = match self {
            Self::Broker => 2,
            Self::Instance(number) => 10 + u8::try_from(number).expect("a few"),
        };
        Ipv4Addr::new(10, 231, 0, last).into()
    }

    /// A port of it.
    pub(crate) fn port(self, port: u16) -> SocketAddr {
        (self.host(), port).into()
    }

    /// Name of its namespace, and of its end at the hub.
    fn name(self) -> String {
        match self {
            Self::Broker => "broker".to_owned(),
            Self::Instance(number) => format!("instance-{number}"),
        }
    }

    /// Words before a command that is to run there; it takes their process.
    pub(crate) fn within(self) -> Vec<String> {
        ["ip", "netns", "exec", &self.name()].map(str::to_owned).to_vec()
    }
}

/// The networks of a test; they end with its process.
pub(crate) struct Net(());

impl Net {
    /// A hub, a broker's place, and so many instances.
    pub(crate) fn new(instances: usize) -> Self {
        ip("link set lo up");
        ip("link add name hub type bridge");
        ip("addr add 10.231.0.1/24 dev hub");
        ip("link set hub up");
        for place in (0..instances).map(Place::Instance).chain([Place::Broker]) {
            let (name, host) = (place.name(), place.host());
            ip(&format!("netns add {name}"));
            ip(&format!("link add {name} type veth peer name eth0 netns {name}"));
            ip(&format!("link set {name} master hub up"));
            ip(&format!("-n {name} addr add {host}/24 dev eth0"));
            ip(&format!("-n {name} link set lo up"));
            ip(&format!("-n {name} link set eth0 up"));
        }
        Self(())
    }

    /// Packets of one place to another are lost from now on; the other way nothing changes.
    pub(crate) fn lose(&self, from: Place, to: Place) {
        let back = self.passes(to, from);
        let (name, host) = (from.name(), to.host());
        ip(&format!("-n {name} neigh replace {host} lladdr {NOWHERE} dev eth0 nud permanent"));
        assert!(!self.passes(from, to), "{from:?} does not reach {to:?}");
        assert_eq!(self.passes(to, from), back, "the way of {to:?} to {from:?} is what it was");
    }

    /// They arrive again.
    pub(crate) fn find(&self, from: Place, to: Place) {
        ip(&format!("-n {} neigh del {} dev eth0", from.name(), to.host()));
        assert!(self.passes(from, to), "{from:?} reaches {to:?}");
    }

    /// Does a packet arrive?
    fn passes(&self, from: Place, to: Place) -> bool {
        let before = strays(to);
        let send = format!("echo >/dev/udp/{}/{DISCARD}", to.host());
        let sent = run(&mut within(from, &["bash", "-c", &send]));
        assert!(sent.status.success(), "{from:?} sends to {to:?}: {sent:?}");
        let limit = if lost(from, to) { LOST_MS } else { ARRIVED_MS };
        wait_until(limit, || strays(to) > before)
    }
}

/// Is there an entry that makes packets go nowhere?
fn lost(from: Place, to: Place) -> bool {
    let shown = ip(&format!("-n {} neigh show {} dev eth0", from.name(), to.host()));
    shown.contains(NOWHERE)
}

/// Packets that came for a port nobody listens at.
fn strays(at: Place) -> u64 {
    let counts = run(&mut within(at, &["cat", "/proc/net/snmp"]));
    let counts = String::from_utf8_lossy(&counts.stdout).into_owned();
    let udp: Vec<&str> = counts.lines().filter(|line| line.starts_with("Udp:")).collect();
    let [names, numbers] = udp[..] else { panic!("no counters: {counts}") };
    let place = names.split(' ').position(|name| name == "NoPorts").expect("it is counted");
    let number = numbers.split(' ').nth(place).and_then(|number| number.parse().ok());
    number.expect("it is a number")
}

fn within(place: Place, words: &[&str]) -> Command {
    let prefix = place.within();
    let mut command = Command::new(&prefix[0]);
    command.args(&prefix[1..]).args(words);
    command
}

/// Runs `ip` with these words; what it prints.
fn ip(words: &str) -> String {
    let done = run(Command::new("ip").args(words.split(' ')));
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "ip {words}: {said}; {NEEDS}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

fn run(command: &mut Command) -> Output {
    let done = command.stdin(Stdio::null()).output();
    done.unwrap_or_else(|e| panic!("{command:?}: {e}; {NEEDS}"))
}
