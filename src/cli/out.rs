//! The only file that writes to stdout and stderr. Data goes to stdout, everything else to stderr.
//!
//! JSON output is the API's bodies byte for byte; tables are for terminals and may change.

use super::failure::Failure;
use super::human;
use clap::ValueEnum;
use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, Table};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use serde_json::value::RawValue;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::time::Duration;

/// Shape of the data on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Columns, for people.
    Table,
    /// One JSON document.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// Ids, one a line; a check names what failed.
    Quiet,
}

/// Where a verb puts what it has to say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Out {
    format: Format,
    terminal: bool,
    colour: bool,
    silent: bool,
    verbose: bool,
}

/// A column of a table.
#[derive(Clone, Copy)]
pub(super) struct Column {
    head: &'static str,
    right: bool,
    cell: fn(&Value) -> String,
}

impl Column {
    /// Its cell in a row.
    pub(super) fn show(&self, row: &Value) -> String {
        (self.cell)(row)
    }
}

/// A left-aligned column.
#[must_use]
pub(super) const fn left(head: &'static str, cell: fn(&Value) -> String) -> Column {
    Column { head, right: false, cell }
}

/// A right-aligned column.
#[must_use]
pub(super) const fn right(head: &'static str, cell: fn(&Value) -> String) -> Column {
    Column { head, right: true, cell }
}

/// How rows of a kind are shown.
#[derive(Clone, Copy)]
pub(super) struct View {
    /// Member that `-o quiet` prints.
    pub(super) id: &'static str,
    /// Columns of `-o table`.
    pub(super) columns: &'static [Column],
}

/// Lines on their way to stdout; the rest goes out when it is dropped.
pub(super) struct Lines(BufWriter<io::StdoutLock<'static>>);

impl Lines {
    /// A line of data.
    pub(super) fn line(&mut self, line: &str) {
        give_up_on_a_closed_pipe(writeln!(self.0, "{line}"));
    }
}

/// Documents on their way to stdout: one a line, with `-o json` the members of one array.
pub(super) struct Documents {
    lines: Lines,
    array: bool,
    count: u64,
}

impl Documents {
    /// One more.
    pub(super) fn add(&mut self, document: &str) {
        let before = match (self.array, self.count) {
            (false, _) => "",
            (true, 0) => "[",
            (true, _) => ",\n",
        };
        self.count += 1;
        let end = if self.array { "" } else { "\n" };
        give_up_on_a_closed_pipe(write!(self.lines.0, "{before}{document}{end}"));
    }

    /// Lets those that are there be read.
    pub(super) fn flush(&mut self) {
        give_up_on_a_closed_pipe(self.lines.0.flush());
    }

    /// There are no more.
    pub(super) fn end(mut self) {
        if self.array {
            self.lines.line(if self.count == 0 { "[]" } else { "]" });
        }
    }
}

impl Out {
    /// Output as asked for: `table` on a terminal, else `ndjson`; colour on a terminal without
    /// `NO_COLOR`.
    #[must_use]
    pub(super) fn new(format: Option<Format>, silent: bool, verbose: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        let format = format.unwrap_or(if terminal { Format::Table } else { Format::Ndjson });
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { format, terminal, colour: terminal && !no_colour, silent, verbose }
    }

    /// The format in force.
    #[must_use]
    pub(super) fn format(&self) -> Format {
        self.format
    }

    /// A line of data.
    pub(super) fn data(&self, line: &str) {
        let mut stdout = io::stdout().lock();
        give_up_on_a_closed_pipe(writeln!(stdout, "{line}").and_then(|()| stdout.flush()));
    }

    /// Many lines of data, written in blocks.
    pub(super) fn lines(&self) -> Lines {
        Lines(BufWriter::with_capacity(1 << 16, io::stdout().lock()))
    }

    /// Many documents, written in blocks.
    pub(super) fn documents(&self) -> Documents {
        Documents { lines: self.lines(), array: self.format == Format::Json, count: 0 }
    }

    /// Bytes of data, unchanged.
    pub(super) fn bytes(&self, bytes: &[u8]) {
        let mut stdout = io::stdout().lock();
        give_up_on_a_closed_pipe(stdout.write_all(bytes).and_then(|()| stdout.flush()));
    }

    /// A remark on stderr; not with `-q`.
    pub(super) fn note(&self, text: &str) {
        if !self.silent {
            to_stderr(text);
        }
    }

    /// A remark on stderr, only with `-v`.
    pub(super) fn detail(&self, text: &str) {
        if self.verbose {
            to_stderr(text);
        }
    }

    /// A failure on stderr, also with `-q`.
    pub(super) fn failure(&self, failure: &Failure) {
        to_stderr(&failure.text());
    }

    /// Rows as a list verb prints them.
    pub(super) fn rows(&self, rows: &[Box<RawValue>], view: &View) {
        match self.format {
            Format::Ndjson => rows.iter().for_each(|row| self.data(row.get())),
            Format::Json => {
                let texts: Vec<&str> = rows.iter().map(|row| row.get()).collect();
                self.data(&format!("[{}]", texts.join(",\n")));
            }
            Format::Quiet => values(rows).iter().for_each(|row| self.data(&text(row, view.id))),
            Format::Table => self.table(&values(rows), view.columns),
        }
    }

    /// One object as a `get` verb prints it.
    pub(super) fn one(&self, body: &str, view: &View) {
        let value = || serde_json::from_str::<Value>(body).unwrap_or_default();
        match self.format {
            Format::Json | Format::Ndjson => self.data(body),
            Format::Quiet => self.data(&text(&value(), view.id)),
            Format::Table => self.members(&value()),
        }
    }

    /// A table of columns.
    pub(super) fn table(&self, rows: &[Value], columns: &[Column]) {
        if rows.is_empty() {
            return self.note("nothing to show");
        }
        self.data(&self.drawn(rows, columns));
    }

    /// A table of columns as text.
    #[must_use]
    pub(super) fn drawn(&self, rows: &[Value], columns: &[Column]) -> String {
        let mut table = self.plain_table();
        table.set_header(columns.iter().map(|column| self.head(column.head)));
        for row in rows {
            table.add_row(columns.iter().map(|column| Cell::new(harmless(&column.show(row)))));
        }
        for (i, column) in columns.iter().enumerate() {
            if let Some(shown) = table.column_mut(i).filter(|_| column.right) {
                shown.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.trim_fmt()
    }

    /// Data in place of what was on the screen, as far as it has rows; off a terminal it follows
    /// what was there.
    pub(super) fn screen(&self, text: &str) {
        let mut stdout = io::stdout().lock();
        let written = if self.terminal {
            let size = rustix::termios::tcgetwinsize(&stdout);
            let rows = size.map_or(0, |size| usize::from(size.ws_row));
            write!(stdout, "{}", painted(text, rows))
        } else {
            write!(stdout, "{text}\n\n")
        };
        give_up_on_a_closed_pipe(written.and_then(|()| stdout.flush()));
    }

    fn members(&self, value: &Value) {
        let Some(members) = value.as_object() else { return self.data(&value.to_string()) };
        let mut table = self.plain_table();
        for (name, value) in members {
            table.add_row([self.head(&harmless(name)), Cell::new(shown(name, value))]);
        }
        self.data(&table.trim_fmt());
    }

    fn plain_table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_content_arrangement(ContentArrangement::Disabled);
        if self.colour {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        table
    }

    fn head(&self, text: &str) -> Cell {
        let cell = Cell::new(text);
        if self.colour { cell.add_attribute(Attribute::Bold) } else { cell }
    }

    /// A progress bar on stderr; invisible with `-q` and off a terminal.
    #[must_use]
    pub(super) fn progress(&self, total: Option<u64>) -> ProgressBar {
        let target = if self.silent || !io::stderr().is_terminal() {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr_with_hz(5)
        };
        let bar = ProgressBar::with_draw_target(total, target);
        let template = if total.is_some() {
            "{bar:30} {human_pos}/{human_len}  {per_sec}  {msg}"
        } else {
            "{spinner} {human_pos}  {per_sec}  {msg}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("█▒░"));
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
}

/// What draws a text over the old one without a flicker: home, each line to its end, and away with
/// what is left. Lines are not folded, and the last of the rows (0 = not known) stays free for the
/// cursor, so that nothing scrolls.
fn painted(text: &str, rows: usize) -> String {
    let most = if rows == 0 { usize::MAX } else { rows - 1 };
    let lines = text.lines().take(most).map(|line| format!("{line}\x1b[K\n"));
    format!("\x1b[?7l\x1b[H{}\x1b[J\x1b[?7h", lines.collect::<String>())
}

/// True when a person can be asked.
#[must_use]
pub(super) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks a question on stderr; only `y` and `yes` are a yes.
#[must_use]
pub(super) fn asked(question: &str) -> bool {
    give_up_on_a_closed_pipe(write!(io::stderr(), "{question} [y/N] "));
    let mut line = String::new();
    let read = io::stdin().read_line(&mut line).is_ok();
    read && matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// A member as text: strings bare, everything else as JSON, nothing as `-`.
#[must_use]
pub(super) fn text(value: &Value, member: &str) -> String {
    match value.get(member) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// A member as a number; 0 when it is none.
#[must_use]
pub(super) fn number(value: &Value, member: &str) -> u64 {
    value.get(member).and_then(Value::as_u64).unwrap_or(0)
}

/// Text for a terminal: what would steer it, or show text in another order than it has, is written
/// as an escape. Names, messages and reasons come from workers and submitters.
#[must_use]
pub(super) fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let unseen = matches!(
            c,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
        );
        if c.is_control() || unseen {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

fn shown(name: &str, value: &Value) -> String {
    match value {
        Value::String(text) => harmless(text),
        Value::Number(n) if name.ends_with("_ts") => human::stamp(n.as_u64().unwrap_or(0)),
        Value::Number(n) if name.ends_with("Bytes") => human::bytes(n.as_u64().unwrap_or(0)),
        Value::Object(members) if members.values().all(Value::is_number) => {
            let parts = members.iter().filter(|(_, n)| n.as_f64() != Some(0.0));
            harmless(&parts.map(|(name, n)| format!("{name} {n}")).collect::<Vec<_>>().join("  "))
        }
        Value::Array(items) if items.iter().all(Value::is_string) => {
            harmless(&items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => {
            let lines: Vec<String> = items.iter().map(|item| harmless(&item.to_string())).collect();
            lines.join("\n")
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            harmless(&value.to_string())
        }
    }
}

fn values(rows: &[Box<RawValue>]) -> Vec<Value> {
    rows.iter().map(|row| serde_json::from_str(row.get()).unwrap_or_default()).collect()
}

fn to_stderr(text: &str) {
    // Nobody is left to be told when stderr is gone.
    let _unheard = writeln!(io::stderr().lock(), "{text}");
}

/// `kwq … | head` is no failure: the reader has what it wanted. A full disk is one: nobody must
/// take what was written for the whole.
fn give_up_on_a_closed_pipe(written: io::Result<()>) {
    let Err(error) = written else { return };
    let code = if error.kind() == io::ErrorKind::BrokenPipe {
        super::failure::exit::DONE
    } else {
        to_stderr(&format!("error[output]: the output is incomplete: {error}"));
        super::failure::exit::FAILED
    };
    std::process::exit(i32::from(code));
}

#[cfg(test)]
mod tests {
    use super::painted;

    #[test]
    fn a_screen_shows_as_many_lines_as_it_has_rows() {
        let lines = |rows| painted("a\nb\n\nc", rows).matches('\n').count();
        assert_eq!((lines(0), lines(100), lines(5), lines(4), lines(1)), (4, 4, 4, 3, 0));
        assert!(painted("a\nb", 2).starts_with("\x1b[?7l\x1b[Ha\x1b[K\n\x1b[J"));
    }
}
