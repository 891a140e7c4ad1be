//! The report for people; with `-o json` it is one document.

use super::Report;
use super::compare::Compared;
use crate::cli::Context;
use crate::cli::human::{bytes, grouped};
use crate::cli::out::Format;
use crate::sim::keys::Fits;
use crate::sim::tally::Books;

/// Prints a report.
pub(super) fn show(report: &Report, context: &Context) {
    if context.out.format() != Format::Table {
        let text = serde_json::to_string(report).expect("a report has string keys only");
        return context.out.data(&text);
    }
    for line in lines(report) {
        context.out.data(&line);
    }
}

fn lines(report: &Report) -> Vec<String> {
    let mut lines = vec![format!(
        "kwq {} · {} tasks · batch {} · {} connections · {} B payload · {} · {} cores shared",
        report.version,
        grouped(report.tasks),
        report.batch,
        report.connections,
        report.payload_bytes,
        report.durability,
        report.cores,
    )];
    let sync = |sync: Option<_>| {
        sync.map_or_else(|| "?".to_owned(), |s: crate::sim::report::DiskSync| s.to_string())
    };
    lines.push(format!("fdatasync of 4 KiB here   before {}", sync(report.disk_sync_before)));
    lines.push(format!("                           after {}", sync(report.disk_sync_after)));
    lines.push(format!(
        "load average   before {}   after {}",
        report.load_before, report.load_after
    ));
    for phase in &report.phases {
        lines.push(format!(
            "{:<10} {:>12} tasks/s   {} tasks in {:.2} s   call {}{}",
            phase.name,
            grouped(whole(phase.per_second)),
            grouped(phase.tasks),
            phase.seconds,
            phase.latency,
            if phase.repeated > 0 {
                format!("   {} repeats", phase.repeated)
            } else {
                String::new()
            },
        ));
    }
    lines.extend(costs(report));
    lines.extend(report.affinity.iter().map(fitted));
    lines.extend(report.compared.iter().flat_map(compared));
    lines.extend(report.books.iter().map(account));
    lines.push(format!("not tested: {}", report.not_tested));
    lines
}

/// Affinity on against off.
fn compared(compared: &Compared) -> Vec<String> {
    let per_second = |rate: f64| format!("{} tasks/s", grouped(whole(rate)));
    let rounds: Vec<String> = compared.rounds.iter().map(|ratio| format!("{ratio:.3}")).collect();
    vec![
        format!(
            "affinity   on {}   off {}   on ÷ off {:.3}   rounds {}",
            per_second(compared.on_per_second),
            per_second(compared.off_per_second),
            compared.ratio,
            rounds.join(" "),
        ),
        format!(
            "affinity   server CPU a task: on {:.2} µs   off {:.2} µs   off ÷ on {:.3}",
            compared.on_cpu_us, compared.off_cpu_us, compared.cpu_ratio,
        ),
        fitted(&compared.fits),
    ]
}

fn fitted(fits: &Fits) -> String {
    let (hits, misses) = (grouped(fits.hits), grouped(fits.misses));
    format!("affinity   {:.1} % hits   {hits} hits, {misses} misses", 100.0 * fits.hit_ratio)
}

/// Memory, waiting, waking, restart.
fn costs(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(memory) = &report.memory {
        lines.push(format!(
            "memory     {:.1} B a pending task   {} → {} resident",
            memory.bytes_per_pending_task,
            bytes(memory.before.rss_bytes),
            bytes(memory.after.rss_bytes),
        ));
    }
    if let Some(idle) = &report.idle {
        lines.push(format!(
            "idle       {} parked consumes   {} each   threads {} → {}",
            grouped(idle.polls),
            bytes(whole(idle.bytes_per_poll)),
            idle.threads_before,
            idle.threads_after,
        ));
    }
    if let Some(wake) = &report.wake {
        lines.push(format!("wake       submit → parked worker answered   {wake}"));
    }
    if let Some(restart) = &report.restart {
        lines.push(format!(
            "restart    after kill -9: listening {} ms, first hand-out {} ms, ready {} ms (warm)",
            restart.listen_ms, restart.first_hand_out_ms, restart.ready_ms,
        ));
    }
    lines
}

fn account(books: &Books) -> String {
    format!(
        "books      acked {} handed {} completed {} · lost {} doubled {} unexpected {} \
         refused {}",
        grouped(books.acked),
        grouped(books.handed),
        grouped(books.completed),
        books.lost,
        books.doubled,
        books.unexpected,
        books.refused,
    )
}

/// A rate without its fraction; rates are never negative.
fn whole(rate: f64) -> u64 {
    format!("{rate:.0}").parse().unwrap_or(0)
}
