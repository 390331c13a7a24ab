//! `wemixvisor logs`: the node's output across its rotated files, with or without an agent.
use super::Place;
use crate::config::Output;
use crate::host::rotate::Trail;
use anyhow::Context;
use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

/// How much is read at once, in bytes.
const PIECE: usize = 64 * 1024;
/// How often a log that is followed is looked at, in nanoseconds.
const LOOK_NS: i64 = 200_000_000;

/// The node's output.
#[derive(Debug, Args)]
pub struct Logs {
    /// Lines from the end; "all" is everything there is
    #[arg(long, short = 'n', visible_alias = "lines", value_name = "N", default_value = "100")]
    tail: Tail,
    /// Go on with what comes
    #[arg(long, short)]
    follow: bool,
    /// Print the name of the file instead
    #[arg(long, conflicts_with_all = ["tail", "follow"])]
    path: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    All,
    Lines(u64),
}

impl FromStr for Tail {
    type Err = String;

    fn from_str(text: &str) -> Result<Tail, String> {
        if text == "all" {
            return Ok(Tail::All);
        }
        text.parse().map(Tail::Lines).map_err(|_| "a number of lines is expected, or \"all\"".to_owned())
    }
}

impl Logs {
    /// Prints what was asked for. A reader that goes away is no error.
    pub fn run(&self, place: &Place) -> anyhow::Result<ExitCode> {
        let (path, inherited) = file_of(place)?;
        if self.path {
            println!("{}", path.display());
            return Ok(ExitCode::SUCCESS);
        }
        if !path.exists() && !self.follow {
            let hint = if inherited {
                "the node writes to the agent's own output: `journalctl -u UNIT` shows it under systemd"
            } else {
                "the node has not been started yet"
            };
            anyhow::bail!("there is no output in {}: {hint}", path.display());
        }
        let trail = Trail::new(path);
        match print(&trail, self.tail, self.follow, &mut out()) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
            Err(e) => Err(e).context("printing the node's output"),
            Ok(()) => Ok(ExitCode::SUCCESS),
        }
    }
}

/// The log's file, and whether the node writes elsewhere. Settings that are wrong do not keep anybody from the log.
fn file_of(place: &Place) -> anyhow::Result<(PathBuf, bool)> {
    match place.settings() {
        Ok(settings) => Ok((settings.log.node_file, settings.node.output == Output::Inherit)),
        Err(_) => Ok((place.home()?.node_log(), false)),
    }
}

fn out() -> Box<dyn Write> {
    let out = io::stdout().lock();
    if out.is_terminal() { Box::new(Plain(out)) } else { Box::new(out) }
}

fn print(trail: &Trail, tail: Tail, follow: bool, out: &mut dyn Write) -> io::Result<()> {
    let (first, end) = trail.span()?;
    let from = match tail {
        Tail::All => first,
        Tail::Lines(lines) => line_from_end(trail, first, end, lines)?,
    };
    let mut at = copy(trail, from, out)?;
    while follow && reader_is_there()? {
        let (_, end) = trail.span()?;
        if end < at {
            eprintln!("wemixvisor: the file was emptied; going on with what is new");
            at = end;
        }
        at = copy(trail, at, out)?;
    }
    Ok(())
}

/// Writes everything from a position on and gives the position behind it.
fn copy(trail: &Trail, mut at: u64, out: &mut dyn Write) -> io::Result<u64> {
    let mut piece = vec![0; PIECE];
    loop {
        let (from, n) = trail.read(at, &mut piece)?;
        if n == 0 {
            out.flush()?;
            return Ok(at);
        }
        out.write_all(&piece[..n])?;
        at = from + n as u64;
    }
}

/// Waits a moment; false when nobody reads any more.
fn reader_is_there() -> io::Result<bool> {
    let out = io::stdout();
    // What is written is not asked for: errors and ends are told in any case.
    let mut fds = [PollFd::new(&out, PollFlags::empty())];
    match poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: LOOK_NS })) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(!fds[0].revents().contains(PollFlags::ERR)),
        Err(e) => Err(e.into()),
    }
}

/// Where the last so many lines begin. A last line without an end counts.
fn line_from_end(trail: &Trail, first: u64, end: u64, lines: u64) -> io::Result<u64> {
    if lines == 0 {
        return Ok(end);
    }
    let mut left = lines;
    let mut upper = end;
    let mut piece = vec![0; PIECE];
    while upper > first {
        let lower = first.max(upper.saturating_sub(PIECE as u64));
        let wanted = usize::try_from(upper - lower).unwrap_or(PIECE).min(PIECE);
        let got = read_whole(trail, lower, &mut piece[..wanted])?;
        for at in (0..got).rev().filter(|at| piece[*at] == b'\n') {
            let next = lower + at as u64 + 1;
            if next == end {
                continue;
            }
            left -= 1;
            if left == 0 {
                return Ok(next);
            }
        }
        upper = lower;
    }
    Ok(first)
}

fn read_whole(trail: &Trail, at: u64, piece: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < piece.len() {
        let wanted = at + got as u64;
        let (from, n) = trail.read(wanted, &mut piece[got..])?;
        if n == 0 || from != wanted {
            break;
        }
        got += n;
    }
    Ok(got)
}

/// A terminal: whatever the node was made to write, it only gets text and colours.
struct Plain<W>(W);

impl<W: Write> Write for Plain<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|b| b.is_ascii_control() && !b"\n\t".contains(b)) {
            self.0.write_all(&rest[..at])?;
            let colour = colour(&rest[at..]);
            if colour > 0 {
                self.0.write_all(&rest[at..at + colour])?;
            } else if rest[at] != b'\r' {
                write!(self.0, "\\x{:02x}", rest[at])?;
            }
            rest = &rest[at + colour.max(1)..];
        }
        self.0.write_all(rest)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Length of the colour sequence that `bytes` begin with, else 0.
fn colour(bytes: &[u8]) -> usize {
    let Some(rest) = bytes.strip_prefix(b"\x1b[") else { return 0 };
    let digits = rest.iter().take_while(|b| b.is_ascii_digit() || **b == b';').count();
    if rest.get(digits) == Some(&b'm') { digits + 3 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_found_across_pieces() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.log");
        let lines: Vec<String> = (0..30_000).map(|n| format!("line {n}\n")).collect();
        let printed = |text: &str, tail| {
            std::fs::write(&path, text).unwrap();
            let mut out = Vec::new();
            print(&Trail::new(path.clone()), tail, false, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let all = lines.concat();
        for count in [0, 1, 2, 100, 20_000, 30_000] {
            let wanted = lines[lines.len() - count..].concat();
            assert!(printed(&all, Tail::Lines(count as u64)) == wanted, "{count}");
        }
        assert!(printed(&all, Tail::Lines(40_000)) == all && printed(&all, Tail::All) == all);
        assert_eq!(printed("a\nb\nc", Tail::Lines(2)), "b\nc");
        assert_eq!(printed("a\n\n", Tail::Lines(1)), "\n");
        assert_eq!(printed("", Tail::Lines(3)), "");
        assert!("ten".parse::<Tail>().is_err() && "all".parse() == Ok(Tail::All));
    }

    #[test]
    fn a_terminal_gets_text_and_colours_only() {
        let mut out = Plain(Vec::new());
        out.write_all(b"a\x1b[32mgreen\x1b[0m\tb\x1b]0;title\x07\x1b[2Jc\r\n").unwrap();
        let text = String::from_utf8(out.0).unwrap();
        assert_eq!(text, "a\x1b[32mgreen\x1b[0m\tb\\x1b]0;title\\x07\\x1b[2Jc\n");
    }
}
