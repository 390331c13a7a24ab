//! How backups are shown: tables and JSON on standard output, progress on a terminal.
use crate::host::backup::manifest::encode;
use crate::host::backup::{Backup, BackupError, Catalog, Found, Progress, Pruned, Restored, State, Verdict};
use common::time::UnixMs;
use serde_json::{Value, json};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use time::macros::format_description;

/// Time between two drawings of the progress line.
const DRAW_EVERY: Duration = Duration::from_millis(200);

/// Prints results.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    /// As JSON instead of a table.
    pub json: bool,
}

fn print(value: &Value) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

fn plain(path: &Path) -> String {
    encode(path)
}

fn paths(list: &[PathBuf]) -> Vec<String> {
    list.iter().map(|p| plain(p)).collect()
}

fn time_of(at: UnixMs) -> String {
    let seconds = i64::try_from(at.0 / 1000).unwrap_or_default();
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    time.format(&form).unwrap_or_default()
}

/// Bytes for people: three digits and a unit.
fn size(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes, 0);
    while value >= 10_240 && unit < 4 {
        value /= 1024;
        unit += 1;
    }
    format!("{value} {}", ["B", "KiB", "MiB", "GiB", "TiB"][unit])
}

fn state(state: &State) -> &'static str {
    match state {
        State::Sealed => "sealed",
        State::Unsealed => "unsealed",
        State::Damaged(_) => "damaged",
        State::ForeignFolder => "foreign (cosmovisor)",
        State::ForeignArchive => "foreign (wemixvisor v0.x)",
    }
}

impl Report {
    /// The list.
    pub fn list(self, catalog: &Catalog) -> anyhow::Result<()> {
        if self.json {
            return print(&catalog.found.iter().map(listed).collect());
        }
        if catalog.found.is_empty() {
            eprintln!("no backups in {}", plain(&catalog.dir));
            return Ok(());
        }
        let row = |f: &Found| {
            let manifest = f.manifest.as_ref();
            let live = if manifest.is_some_and(|m| m.live) { ", live" } else { "" };
            let release = manifest.and_then(|m| m.release.as_ref()).map(|r| r.name.to_string());
            [
                plain(Path::new(&f.name())),
                time_of(f.made_at),
                format!("{}{live}", state(&f.state)),
                f.bytes.map_or("-".to_owned(), size),
                release.unwrap_or("-".to_owned()),
            ]
        };
        let head = ["NAME", "MADE", "STATE", "SIZE", "RELEASE"].map(str::to_owned);
        table(&std::iter::once(head).chain(catalog.found.iter().map(row)).collect::<Vec<_>>());
        Ok(())
    }

    /// A backup that was made.
    pub fn created(self, backup: &Backup) -> anyhow::Result<()> {
        let (manifest, totals) = (backup.manifest(), &backup.manifest().totals);
        if self.json {
            return print(&json!({
                "name": backup.name(), "path": plain(backup.folder()), "sealed": manifest.sealed,
                "live": manifest.live, "totals": totals,
            }));
        }
        println!("{}", plain(backup.folder()));
        let shared =
            if totals.shared > 0 { format!(", {} by reflink", totals.shared) } else { String::new() };
        eprintln!("{} files{shared}, {}", totals.files, size(totals.bytes));
        for (count, what) in [
            (totals.keys_left_out, "keys or folders of keys were left out (--keys saves them)"),
            (totals.excluded, "files or folders were left out by patterns"),
            (totals.special, "sockets, FIFOs or devices were left out"),
            (totals.links, "links were saved as links; what they lead to is not in the backup"),
            (totals.vanished, "files went away meanwhile"),
        ] {
            if count > 0 {
                eprintln!("{count} {what}");
            }
        }
        Ok(())
    }

    /// What a look at backups gave.
    pub fn verified(self, done: &[(String, Result<Verdict, BackupError>)]) -> anyhow::Result<()> {
        if self.json {
            let one = |(name, result): &(String, Result<Verdict, BackupError>)| match result {
                Ok(verdict) => json!({"name": name, "good": verdict.good(), "verdict": verdict}),
                Err(e) => json!({"name": name, "good": false, "error": e.to_string()}),
            };
            return print(&done.iter().map(one).collect());
        }
        for (name, result) in done {
            let name = name.escape_debug();
            match result {
                Ok(v) if v.good() => println!("{name}: good, {} files, {}", v.files, size(v.bytes)),
                Ok(v) if v.same() => println!(
                    "{name}: not sealed: nothing is missing, and without digests no more is known; --seal \
                     computes them"
                ),
                Ok(v) => {
                    println!("{name}: NOT what was saved");
                    for (what, list) in
                        [("missing", &v.missing), ("changed", &v.changed), ("extra", &v.extra)]
                    {
                        list.first.iter().for_each(|path| println!("  {what} {path}"));
                        let more = list.count.saturating_sub(list.first.len() as u64);
                        if more > 0 {
                            println!("  {what} {more} more");
                        }
                    }
                }
                Err(e) => println!("{name}: {e}"),
            }
        }
        Ok(())
    }

    /// What pruning did.
    pub fn pruned(self, pruned: &Pruned, dry_run: bool) -> anyhow::Result<()> {
        if self.json {
            let failed =
                |(path, e): &(PathBuf, BackupError)| json!({"path": plain(path), "error": e.to_string()});
            let failed: Vec<Value> = pruned.failed.iter().map(failed).collect();
            return print(&json!({
                "dry_run": dry_run, "removed": paths(&pruned.removed), "kept": paths(&pruned.kept),
                "failed": failed,
            }));
        }
        let removed = if dry_run { "would remove" } else { "removed" };
        pruned.removed.iter().for_each(|p| println!("{removed} {}", plain(p)));
        pruned.failed.iter().for_each(|(p, e)| eprintln!("not removed {}: {e}", plain(p)));
        eprintln!("{} kept", pruned.kept.len());
        Ok(())
    }

    /// What a restore did.
    pub fn restored(self, restored: &Restored) -> anyhow::Result<()> {
        if self.json {
            return print(&json!({
                "backup": restored.backup, "places": paths(&restored.places), "files": restored.files,
                "bytes": restored.bytes, "carried": paths(&restored.carried), "kept": paths(&restored.kept),
            }));
        }
        for place in &restored.places {
            println!("restored {} from {}", plain(place), restored.backup.escape_debug());
        }
        eprintln!("{} files, {}", restored.files, size(restored.bytes));
        for key in &restored.carried {
            eprintln!("carried over from before: {}", plain(key));
        }
        for kept in &restored.kept {
            eprintln!("still there from before: {}", plain(kept));
        }
        if restored.excluded {
            eprintln!(
                "what was there before held files that the backup leaves out by its patterns, so it is kept: \
                 move back what is needed, then remove it"
            );
        }
        Ok(())
    }
}

fn listed(found: &Found) -> Value {
    let manifest = found.manifest.as_ref();
    let why = if let State::Damaged(why) = &found.state { Some(why) } else { None };
    json!({
        "name": found.name(),
        "path": plain(&found.path),
        "state": match &found.state {
            State::Sealed => "sealed",
            State::Unsealed => "unsealed",
            State::Damaged(_) => "damaged",
            State::ForeignFolder | State::ForeignArchive => "foreign",
        },
        "error": why,
        "made_at": found.made_at,
        "bytes": found.bytes,
        "label": manifest.map(|m| &m.label),
        "live": manifest.map(|m| m.live),
        "keys": manifest.map(|m| m.keys),
        "height": manifest.and_then(|m| m.height),
        "release": manifest.and_then(|m| m.release.as_ref()),
        "roots": manifest.map(|m| &m.roots),
        "totals": manifest.map(|m| m.totals),
    })
}

fn table(rows: &[[String; 5]]) {
    let widths: Vec<usize> =
        (0..5).map(|c| rows.iter().map(|r| r[c].chars().count()).max().unwrap_or(0)).collect();
    for row in rows {
        let line: String = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}  ")).collect();
        println!("{}", line.trim_end());
    }
}

/// A line on standard error that says how far something is; nothing where that is no terminal.
#[derive(Debug)]
pub struct Line {
    what: &'static str,
    drawn: Option<Instant>,
    terminal: bool,
}

impl Line {
    /// Begins a line.
    pub fn new(what: &'static str) -> Line {
        Line { what, drawn: None, terminal: std::io::stderr().is_terminal() }
    }

    /// Draws it anew, not too often.
    pub fn show(&mut self, progress: Progress) {
        if !self.terminal || self.drawn.is_some_and(|at| at.elapsed() < DRAW_EVERY) {
            return;
        }
        self.drawn = Some(Instant::now());
        let Progress { done, total } = progress;
        let percent = done.saturating_mul(100).checked_div(total).unwrap_or(100).min(100);
        eprint!("\r\x1b[K{} {} of {}, {percent} %", self.what, size(done), size(total));
    }

    /// Removes it.
    pub fn end(&mut self) {
        if self.drawn.take().is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

impl Drop for Line {
    // An error is not printed behind it.
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_for_people() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(10_239), "10239 B");
        assert_eq!(size(10_240), "10 KiB");
        assert_eq!(size(3 << 40), "3072 GiB");
        assert_eq!(time_of(UnixMs(1_767_323_045_999)), "2026-01-02T03:04:05Z");
    }
}
