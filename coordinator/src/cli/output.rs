//! Data on standard output: tables for people, JSON and names for programs. A closed pipe ends the program quietly.
use super::error::{Exit, Failure, Outcome};
use super::escape::escape;
use serde::Serialize;
use std::io::{IsTerminal as _, Write as _};

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// More columns.
    Wide,
    /// The API's own JSON.
    Json,
    /// One name a line.
    Name,
}

/// Writes to standard output.
///
/// # Errors
/// A [`Failure`] when the output cannot be written; a reader that went away is no error and ends the process with 0.
pub fn print(text: &str) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(Exit::Done as i32),
        Err(e) => Err(Failure::usage("cannot write to standard output").because(e)),
    }
}

/// Writes to standard error; nothing can be done when that fails.
pub fn say(text: impl AsRef<str>) {
    let _ = writeln!(std::io::stderr().lock(), "{}", text.as_ref());
}

/// Prints any body as JSON.
///
/// # Errors
/// See [`print`].
pub fn json(body: &impl Serialize) -> Outcome<()> {
    let mut text =
        serde_json::to_string_pretty(body).map_err(|e| Failure::usage("cannot write JSON").because(e))?;
    text.push('\n');
    print(&text)
}

/// Columns aligned by their widest cell. Cells are escaped.
#[derive(Debug, Default)]
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column heads.
    pub fn new(head: &[&str]) -> Self {
        Self { head: head.iter().map(|h| (*h).to_owned()).collect(), rows: Vec::new() }
    }

    /// Adds a row; cells are data and are escaped.
    pub fn row<T: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(|c| escape(c.as_ref())).collect());
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text, indented by `indent` spaces.
    pub fn render(&self, indent: usize) -> String {
        let columns = self.head.len();
        let mut widths: Vec<usize> = self.head.iter().map(|h| width(h)).collect();
        for row in &self.rows {
            for (w, cell) in widths.iter_mut().zip(row) {
                *w = (*w).max(width(cell));
            }
        }
        let mut out = String::new();
        for row in std::iter::once(&self.head).chain(&self.rows) {
            out.push_str(&" ".repeat(indent));
            for (i, cell) in row.iter().take(columns).enumerate() {
                out.push_str(cell);
                if i + 1 < columns {
                    out.push_str(&" ".repeat(widths[i] - width(cell) + 2));
                }
            }
            out.truncate(out.trim_end_matches(' ').len());
            out.push('\n');
        }
        out
    }
}

/// Columns a text takes on a terminal; wide East Asian characters take two.
fn width(text: &str) -> usize {
    text.chars().map(|c| if wide(c) { 2 } else { 1 }).sum()
}

fn wide(c: char) -> bool {
    matches!(c, '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff60}' | '\u{ffe0}'..='\u{ffe6}' | '\u{1f300}'..='\u{1faff}')
}

/// Colours, when standard output is a terminal and `NO_COLOR` is not set.
#[derive(Debug, Clone, Copy)]
pub struct Paint(bool);

impl Paint {
    /// Looks at the terminal and the environment.
    pub fn detect() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Self(wanted && std::io::stdout().is_terminal())
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Good news.
    pub fn green(self, text: &str) -> String {
        self.wrap("32", text)
    }

    /// Bad news.
    pub fn red(self, text: &str) -> String {
        self.wrap("31", text)
    }

    /// Something to look at.
    pub fn yellow(self, text: &str) -> String {
        self.wrap("33", text)
    }

    /// A heading.
    pub fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }
}

/// A bar of `width` cells, `done` of `all` filled.
pub fn bar(done: usize, all: usize, width: usize) -> String {
    let filled = (done.min(all) * width).checked_div(all).unwrap_or(width);
    format!("{}{}", "█".repeat(filled), "░".repeat(width - filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_hostile_cells_stay_in_their_row() {
        let mut table = Table::new(&["NAME", "WHAT"]);
        table.row(["val-1", "a\nb"]);
        table.row(["한국", "x"]);
        assert_eq!(table.render(0), "NAME   WHAT\nval-1  a\\nb\n한국   x\n");
    }

    #[test]
    fn bars_are_full_only_when_done() {
        assert_eq!(bar(9, 10, 10), "█████████░");
        assert_eq!(bar(99, 100, 10), "█████████░");
        assert_eq!(bar(10, 10, 4), "████");
        assert_eq!(bar(0, 0, 2), "██");
    }
}
