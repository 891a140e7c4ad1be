//! `memory.limit = auto`: what this process may use, by its cgroup or the machine.

use std::fs;

/// Used when the system tells nothing: 4 GiB.
const UNKNOWN_BYTES: u64 = 4 << 30;

/// 75 % of the smallest of RAM, cgroup v2 and cgroup v1 limit.
pub(super) fn auto_limit_bytes() -> u64 {
    let ram = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_bytes(&text));
    let groups = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let cgroup = groups.iter().filter_map(|path| fs::read_to_string(path).ok());
    let least = cgroup.filter_map(|text| text.trim().parse().ok()).chain(ram).min();
    least.unwrap_or(UNKNOWN_BYTES) / 4 * 3
}

/// `MemTotal` of `/proc/meminfo`.
pub(super) fn total_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kib.checked_mul(1_024)
}
