//! Reader of strace's output (`-f -y`, whole data): one event when a call begins and one when it
//! has returned. A call that was cut off by the kill begins and never returns.

/// Calls the model of the disk must see. Those it cannot replay make the run fail, never pass.
/// `sync_file_range` is not among them: it only starts writing, so it proves nothing durable.
pub(crate) const CALLS: &str = "open,openat,creat,close,dup,dup2,dup3,fcntl,lseek,write,pwrite64,\
writev,pwritev,pwritev2,fdatasync,fsync,rename,renameat,renameat2,link,linkat,\
unlink,unlinkat,rmdir,mkdir,mkdirat,truncate,ftruncate,fallocate,copy_file_range,sendfile";

/// Arguments of strace for a full trace into `file`. Strings are never shortened: the longest
/// write of the log is a group of at most a few megabytes.
pub(crate) fn arguments(file: &str) -> Vec<String> {
    let calls = format!("trace={CALLS}");
    let list = ["-f", "--seccomp-bpf", "-y", "-s", "67108864", "-e", &calls, "-e", "signal=none"];
    list.iter().map(|s| (*s).to_owned()).chain(["-o".into(), file.into()]).collect()
}

/// One call.
#[derive(Clone, Debug)]
pub(crate) struct Call<'a> {
    /// Thread.
    pub(crate) pid: u32,
    pub(crate) name: &'a str,
    /// Text between the brackets, as far as it was printed when the call began.
    pub(crate) args: &'a [u8],
}

/// What one line says.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// A call begins.
    Begins(Call<'a>),
    /// It has returned in the same line.
    Whole(Call<'a>, Option<i64>),
    /// The open call of this thread has returned.
    Returns(u32, Option<i64>),
    /// Signals, exits.
    Other,
}

/// Reads one line.
pub(crate) fn read(line: &[u8]) -> Event<'_> {
    let Some((pid, rest)) = number(line) else { return Event::Other };
    let Ok(pid) = u32::try_from(pid) else { return Event::Other };
    let rest = rest.trim_ascii_start();
    if rest.starts_with(b"<... ") {
        return Event::Returns(pid, result(rest));
    }
    let name_len = rest.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
    let (Some(name), Some(b'(')) = (rest.get(..name_len), rest.get(name_len)) else {
        return Event::Other;
    };
    let Ok(name) = std::str::from_utf8(name) else { return Event::Other };
    let args = rest.get(name_len + 1..).unwrap_or_default();
    let args = args.strip_suffix(b"\n").unwrap_or(args);
    if let Some(args) = args.strip_suffix(b" <unfinished ...>") {
        return Event::Begins(Call { pid, name, args });
    }
    Event::Whole(Call { pid, name, args }, result(args))
}

/// The value after the last `) = `; `?` (never returned) is `None`. Of a thread that is being
/// killed strace may read registers that are not its own any more: it prints
/// `-1 (errno 18446744073709551615)`, or what another thread has returned, for a write that has
/// reached the file whole.
fn result(line: &[u8]) -> Option<i64> {
    let at = line.windows(2).rposition(|w| w == b"= ")?;
    let text = line.get(at + 2..)?.trim_ascii();
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(d) => (true, d),
        None => (false, text),
    };
    let (value, _) = number(digits)?;
    Some(if negative { -value } else { value })
}

/// A decimal number at the start and what follows it.
pub(crate) fn number(text: &[u8]) -> Option<(i64, &[u8])> {
    let len = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let digits = std::str::from_utf8(text.get(..len)?).ok()?;
    Some((digits.parse().ok()?, text.get(len..)?))
}

/// All numbers that stand as arguments after the last string or bracket, e.g. length and offset.
pub(crate) fn tail_numbers(args: &[u8]) -> Vec<i64> {
    let cut = args.windows(4).rposition(|w| w == b") = ").map_or(args, |at| slice(args, 0, at));
    let cut = cut.trim_ascii_end();
    let cut = cut.strip_suffix(b")").unwrap_or(cut);
    let from = cut.iter().rposition(|b| matches!(b, b'"' | b']' | b'>')).map_or(0, |at| at + 1);
    let tail = String::from_utf8_lossy(slice(cut, from, cut.len())).into_owned();
    tail.split(',').filter_map(|n| n.trim().parse().ok()).collect()
}

fn slice(bytes: &[u8], from: usize, to: usize) -> &[u8] {
    bytes.get(from..to).unwrap_or_default()
}

/// All quoted strings, decoded and joined: the data of a write or writev. `None` = shortened.
pub(crate) fn data(args: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some((text, next)) = string(args, at) {
        out.extend_from_slice(&text);
        if slice(args, next, next + 3) == b"..." {
            return None;
        }
        at = next;
    }
    Some(out)
}

/// The next quoted string from `at` on and the place behind it.
pub(crate) fn string(args: &[u8], at: usize) -> Option<(Vec<u8>, usize)> {
    let open = at + args.get(at..)?.iter().position(|b| *b == b'"')?;
    let mut out = Vec::new();
    let mut i = open + 1;
    loop {
        match *args.get(i)? {
            b'"' => return Some((out, i + 1)),
            b'\\' => {
                let (byte, next) = escape(args, i + 1)?;
                out.push(byte);
                i = next;
            }
            byte => {
                out.push(byte);
                i += 1;
            }
        }
    }
}

/// One escape of C: `\n`, `\x41`, `\0` … `\377`.
fn escape(args: &[u8], at: usize) -> Option<(u8, usize)> {
    let plain = |byte: u8| Some((byte, at + 1));
    match *args.get(at)? {
        b'n' => plain(b'\n'),
        b't' => plain(b'\t'),
        b'r' => plain(b'\r'),
        b'v' => plain(0x0b),
        b'f' => plain(0x0c),
        b'x' => {
            let hex = std::str::from_utf8(args.get(at + 1..at + 3)?).ok()?;
            Some((u8::from_str_radix(hex, 16).ok()?, at + 3))
        }
        b'0'..=b'7' => {
            let digits = args.get(at..)?.iter().take(3);
            let len = digits.take_while(|b| (b'0'..=b'7').contains(b)).count();
            let text = std::str::from_utf8(args.get(at..at + len)?).ok()?;
            Some((u8::from_str_radix(text, 8).ok()?, at + len))
        }
        other => plain(other),
    }
}

/// The descriptor an argument list begins with, and its path (`3</dir/file>`).
pub(crate) fn descriptor(args: &[u8]) -> Option<(i64, String)> {
    let (fd, rest) = number(args)?;
    Some((fd, angle(rest)))
}

/// The text of a leading `<…>`.
pub(crate) fn angle(text: &[u8]) -> String {
    let inner = text.strip_prefix(b"<").unwrap_or_default();
    let len = inner.iter().position(|b| *b == b'>').unwrap_or(0);
    String::from_utf8_lossy(slice(inner, 0, len)).into_owned()
}
