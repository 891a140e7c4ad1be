//! Body of `Allocated`: hand-outs as steps from one to the next, with tails that are there only
//! where affinity or ageing had a part in one of them.

use crate::codec::Malformed;
use crate::codec::bytes::{Cursor, len_u64, put_bytes, put_option_str, put_varint};
use crate::codec::event::batches::Steps;
use crate::model::affinity::Fit;
use crate::model::event::{Allocation, Event};
use crate::model::id::{LeaseNo, Name};
use crate::model::priority::Priority;

/// Hand-outs whose affinity shares a byte.
const FITS_A_BYTE: usize = 4;

/// Appends the body:
/// `worker | endpoint? | first lease | n | n × (step [attempt, lease ms]) | [⌈n / 4⌉ × fits |
/// [n × level]]`.
///
/// The fits, two bits a hand-out, low bits first, are there only if one of them is not `None` or
/// levels follow: so tasks without affinity cost nothing, and bodies from before there was affinity
/// read as ever. Levels, 0 = the task's own, are there only if one was served at another.
pub(super) fn put_allocated(
    out: &mut Vec<u8>,
    worker: &str,
    endpoint: Option<&str>,
    first_lease: LeaseNo,
    tasks: &[Allocation],
) {
    put_bytes(out, worker.as_bytes());
    put_option_str(out, endpoint);
    put_varint(out, first_lease.0);
    put_varint(out, len_u64(tasks.len()));
    let (mut steps, mut last) = (Steps::new(), (1, 0));
    for task in tasks {
        let now = (task.attempt, task.lease_ms);
        steps.put(out, task.seq, now != last);
        if now != last {
            put_varint(out, u64::from(now.0));
            put_varint(out, u64::from(now.1));
        }
        last = now;
    }
    let elsewhere = tasks.iter().any(|task| task.served.is_some());
    if elsewhere || tasks.iter().any(|task| task.fit != Fit::None) {
        for four in tasks.chunks(FITS_A_BYTE) {
            out.push(four.iter().rev().fold(0, |byte, task| byte << 2 | task.fit as u8));
        }
    }
    if elsewhere {
        out.extend(tasks.iter().map(|task| task.served.map_or(0, Priority::get)));
    }
}

/// Reads `Allocated`.
///
/// # Errors
/// Anything that [`put_allocated`] does not write.
pub(super) fn allocated(body: &[u8]) -> Result<Event, Malformed> {
    let mut cursor = Cursor::new(body);
    let worker = cursor.text()?.into();
    let endpoint = cursor.option_text()?.map(Name::from);
    let first_lease = LeaseNo(cursor.varint()?);
    let count: usize = cursor.number()?;
    let mut tasks = cursor.reserve(count);
    let (mut steps, mut last) = (Steps::new(), (1, 0));
    for _ in 0..count {
        let (seq, changed) = steps.read(&mut cursor)?;
        if changed {
            last = (cursor.number()?, cursor.number()?);
        }
        let (attempt, lease_ms) = last;
        tasks.push(Allocation { seq, attempt, lease_ms, fit: Fit::None, served: None });
    }
    if !cursor.rest().is_empty() {
        let any_fit = read_fits(&mut cursor, &mut tasks)?;
        let any_level = !cursor.rest().is_empty();
        if any_level {
            read_levels(&mut cursor, &mut tasks)?;
        }
        if !any_fit && !any_level {
            return Err(Malformed("allocated: fits of nothing"));
        }
    }
    cursor.end()?;
    Ok(Event::Allocated { worker, endpoint, first_lease, tasks })
}

fn read_levels(cursor: &mut Cursor<'_>, tasks: &mut [Allocation]) -> Result<(), Malformed> {
    let mut found = false;
    for task in tasks {
        let level = u64::from(cursor.byte()?);
        task.served = match level {
            0 => None,
            _ => Some(Priority::new(level).ok_or(Malformed("allocated: level"))?),
        };
        found |= level > 0;
    }
    if found { Ok(()) } else { Err(Malformed("allocated: levels of nothing")) }
}

/// Whether any hand-out has a fit.
fn read_fits(cursor: &mut Cursor<'_>, tasks: &mut [Allocation]) -> Result<bool, Malformed> {
    let mut found = false;
    for four in tasks.chunks_mut(FITS_A_BYTE) {
        let mut byte = cursor.byte()?;
        for task in four {
            let fit = Fit::ALL.get(usize::from(byte & 3)).copied();
            task.fit = fit.ok_or(Malformed("allocated: fit"))?;
            found |= task.fit != Fit::None;
            byte >>= 2;
        }
        if byte != 0 {
            return Err(Malformed("allocated: fits left over"));
        }
    }
    Ok(found)
}
