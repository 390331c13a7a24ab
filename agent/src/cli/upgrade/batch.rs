//! `wemixvisor add-batch-upgrade`.
use super::add::Executable;
use super::{Host, schedule};
use crate::cli::Place;
use crate::plan::{
    Plan, Queue, Source, batch_file, entries, height_of, in_home, one, read_json, replace_batch,
};
use anyhow::Context;
use clap::Args;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Largest list of upgrades that is read, in bytes.
const MAX_LIST_BYTES: u64 = 1 << 20;

/// Adds several upgrades at once.
#[derive(Debug, Args)]
pub struct AddBatchUpgrade {
    /// The upgrades, as NAME:FILE:HEIGHT
    #[arg(long, value_name = "NAME:FILE:HEIGHT,…", value_delimiter = ',')]
    upgrade_list: Vec<String>,
    /// A file with the upgrades: a line NAME,FILE,HEIGHT each, or a JSON list of objects with "name",
    /// "height", and "executable" or "info"
    #[arg(long, value_name = "FILE")]
    upgrade_file: Option<PathBuf>,
}

/// One upgrade of a batch, and the executable that was given with it.
struct Wanted {
    plan: Plan,
    executable: Option<PathBuf>,
}

impl AddBatchUpgrade {
    /// Does what was asked. Everything that can be refused is looked at before anything is written.
    pub fn run(&self, place: &Place) -> anyhow::Result<ExitCode> {
        let wanted = match (&self.upgrade_file, self.upgrade_list.as_slice()) {
            (None, []) => anyhow::bail!("either --upgrade-file or --upgrade-list must be provided"),
            (Some(_), [_, ..]) => anyhow::bail!(
                "if any flags in the group [upgrade-file upgrade-list] are set none of the others can be; \
                 [upgrade-file upgrade-list] were all set"
            ),
            (None, list) => Lines::Colons(list),
            (Some(file), []) => Lines::File(file),
        };
        let host = Host::of(place)?;
        host.ensure_plan_folder()?;
        let wanted = wanted.read(&host)?;
        ensure_distinct(&wanted)?;
        let mut executables = Vec::new();
        for Wanted { plan, executable } in &wanted {
            match executable {
                Some(file) => {
                    let executable = Executable::look(&host, &plan.name, file, true)?;
                    anyhow::ensure!(
                        !executable.replaces() || !host.applied.is(plan),
                        "{} is what runs, and {} has other bytes; `add-upgrade --force` replaces it",
                        plan.title,
                        file.display()
                    );
                    executables.push(executable);
                }
                None => schedule::ensure_there(&host, plan)?,
            }
        }
        for executable in &executables {
            executable.put()?;
        }
        say_what_is_replaced(&host);
        let plans: Vec<Plan> = wanted.into_iter().map(|w| w.plan).collect();
        replace_batch(&host.home, &host.settings, &plans)?;
        println!("{} {} upgrades", batch_file(&host.settings).display(), plans.len());
        say_what_is_passed_over(&host, plans);
        host.say_if_not_followed();
        Ok(ExitCode::SUCCESS)
    }
}

/// Where the list is.
enum Lines<'a> {
    Colons(&'a [String]),
    File(&'a Path),
}

impl Lines<'_> {
    fn read(&self, host: &Host) -> anyhow::Result<Vec<Wanted>> {
        let Lines::File(path) = self else {
            let Lines::Colons(list) = self else { return Ok(Vec::new()) };
            let split = |(at, text): (usize, &String)| {
                wanted(host, at, text, &text.split(':').map(str::to_owned).collect::<Vec<_>>())
            };
            return list.iter().enumerate().map(split).collect();
        };
        let size = std::fs::metadata(path).with_context(|| format!("reading {}", path.display()))?.len();
        anyhow::ensure!(size <= MAX_LIST_BYTES, "{} is larger than 1 MiB", path.display());
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        if text.trim_start().starts_with(['[', '{']) {
            return from_json(host, path);
        }
        let lines = text.lines().filter(|line| !line.is_empty()).enumerate();
        lines.map(|(at, line)| wanted(host, at, line, &fields(line))).collect()
    }
}

fn wanted(host: &Host, at: usize, text: &str, fields: &[String]) -> anyhow::Result<Wanted> {
    let [title, executable, height] = fields else {
        anyhow::bail!(
            "argument at position {at} ({}) is invalid: NAME, FILE and HEIGHT are expected",
            text.trim()
        );
    };
    let height = height_of(height)
        .with_context(|| format!("upgrade height at position {at} ({}) is invalid", height.escape_debug()))?;
    let (title, name) = in_home(&host.home, title, host.settings.upgrade.recase)
        .with_context(|| format!("argument at position {at} ({}) is invalid", text.escape_debug()))?;
    let plan = Plan { title, name, height: Some(height), info: String::new(), source: Source::Batch };
    Ok(Wanted { plan, executable: Some(PathBuf::from(executable)) })
}

fn from_json(host: &Host, path: &Path) -> anyhow::Result<Vec<Wanted>> {
    let value = read_json(path)?;
    let list = entries(&value).with_context(|| {
        format!("{}: a list of upgrades is expected, or an object with one in \"upgrades\"", path.display())
    })?;
    let each = list.iter().enumerate().map(|(at, entry)| {
        let (plan, _) = one(entry, Source::Batch, &host.home, host.settings.upgrade.recase)
            .with_context(|| format!("argument at position {at} is invalid"))?;
        let executable = match entry.get("executable") {
            None | Some(Value::Null) => None,
            Some(Value::String(path)) => Some(PathBuf::from(path)),
            Some(other) => anyhow::bail!("argument at position {at}: executable {other} is no path"),
        };
        Ok(Wanted { plan, executable })
    });
    each.collect()
}

/// The fields of a line of comma-separated values: blanks before a field are dropped, a field in quotes can
/// hold commas and doubled quotes.
fn fields(line: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let mut rest = line.trim_end_matches('\r');
    loop {
        rest = rest.trim_start();
        let mut field = String::new();
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut chars = quoted.char_indices().peekable();
            rest = "";
            while let Some((at, c)) = chars.next() {
                match c {
                    '"' if chars.peek().is_some_and(|(_, next)| *next == '"') => {
                        chars.next();
                        field.push('"');
                    }
                    '"' => {
                        rest = &quoted[at + 1..];
                        break;
                    }
                    c => field.push(c),
                }
            }
        }
        let end = rest.find(',').unwrap_or(rest.len());
        field.push_str(&rest[..end]);
        fields.push(field);
        match rest.get(end + 1..) {
            Some(after) => rest = after,
            None => return fields,
        }
    }
}

fn ensure_distinct(wanted: &[Wanted]) -> anyhow::Result<()> {
    for (at, Wanted { plan, .. }) in wanted.iter().enumerate() {
        for Wanted { plan: other, .. } in &wanted[..at] {
            anyhow::ensure!(other.name != plan.name, "{} is in the batch twice", plan.title);
            anyhow::ensure!(
                other.height != plan.height,
                "{} and {} have the same height {}",
                other.title,
                plan.title,
                plan.height.unwrap_or_default()
            );
        }
    }
    Ok(())
}

fn say_what_is_replaced(host: &Host) {
    let path = batch_file(&host.settings);
    if let Ok(value) = read_json(&path)
        && let Some(list) = entries(&value).filter(|list| !list.is_empty())
    {
        eprintln!("{} with {} upgrades is replaced", path.display(), list.len());
    }
}

/// A batch may hold what was applied before, so that one list can serve every host; it is said.
fn say_what_is_passed_over(host: &Host, mut plans: Vec<Plan>) {
    plans.sort_by_key(|p| p.height);
    let queue = Queue { plans, faults: Vec::new() };
    for plan in queue.missed(&host.applied, None, &[]) {
        eprintln!("note: {} {} is past and will be passed over", plan.title, super::when(plan));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_line() {
        let table: [(&str, &[&str]); 8] = [
            ("a,/b c,5", &["a", "/b c", "5"]),
            ("a, /b,\t5", &["a", "/b", "5"]),
            ("\"a,b\",\"say \"\"x\"\"\",5", &["a,b", "say \"x\"", "5"]),
            ("a,b,5\r", &["a", "b", "5"]),
            ("a,b", &["a", "b"]),
            ("a,b,", &["a", "b", ""]),
            ("", &[""]),
            ("\"open", &["open"]),
        ];
        for (line, expected) in table {
            assert_eq!(fields(line), expected, "{line}");
        }
    }
}
