//! Lists of plans: the batch file, the batch plans of wemixvisor v0.x, our own schedule.
use super::parse::{PlanError, one, read_json};
use super::write::{Entry, encode_entries};
use super::{Plan, Source, encode, encode_batch, name};
use crate::config::Settings;
use crate::home::Home;
use crate::host::files;
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Most files in the `plans` folder that are looked at.
const MAX_PLAN_FILES: usize = 256;
/// Rights of files of plans: no secrets, and the agent may run as another user than the operator.
const MODE: u32 = 0o644;

/// Why a list of plans is as before.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// Nobody can write it now.
    #[error("the lock {path} of the plans cannot be taken: {source}")]
    Lock {
        /// The lock's file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be read, so it is not written either.
    #[error(transparent)]
    Read(#[from] PlanError),
    /// It is JSON of another shape.
    #[error("{0} holds no list of plans and is left as it is; repair or remove it")]
    Shape(PathBuf),
    /// It cannot be written.
    #[error("{path} cannot be written: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The right to rewrite the lists of a home: agent and commands take turns.
#[derive(Debug)]
pub(super) struct Hold(#[expect(dead_code, reason = "held, not read")] File);

impl Hold {
    /// Waits for whoever has it; nobody has it for longer than a few writes.
    pub(super) fn of(home: &Home) -> Result<Hold, ListError> {
        let path = home.plans_lock();
        let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(MODE).open(&path);
        let taken = opened.and_then(|file| {
            flock(&file, FlockOperation::LockExclusive)?;
            Ok(file)
        });
        taken.map(Hold).map_err(|source| ListError::Lock { path, source })
    }
}

/// The batch that belongs to the plan file.
pub fn batch_file(settings: &Settings) -> PathBuf {
    let mut path = settings.upgrade.plan_file.clone().into_os_string();
    path.push(".batch");
    path.into()
}

/// The files of plans whose names are fixed, whether they are there or not.
pub(super) fn fixed_files(home: &Home, settings: &Settings) -> [PathBuf; 3] {
    [settings.upgrade.plan_file.clone(), batch_file(settings), home.schedule()]
}

/// The batch plans of wemixvisor v0.x, by name.
pub(super) fn plan_files(home: &Home) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(home.plans()).into_iter().flatten().flatten();
    let paths = entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "json"));
    let mut paths: Vec<PathBuf> = paths.take(MAX_PLAN_FILES).collect();
    paths.sort();
    paths
}

/// The entries of a list: a list, or an object that has one in `upgrades`.
pub fn entries(value: &Value) -> Option<&Vec<Value>> {
    value.as_array().or_else(|| value.as_object()?.get("upgrades")?.as_array())
}

/// Puts a plan into the schedule of this host, after those that are there.
///
/// # Errors
/// [`ListError`]; the schedule is then as before.
pub fn schedule(home: &Home, plan: &Plan) -> Result<(), ListError> {
    let _hold = Hold::of(home)?;
    let path = home.schedule();
    let mut list =
        list_in(&path)?.map(|value| entries(&value).cloned().unwrap_or_default()).unwrap_or_default();
    let mut entry = json!({"name": plan.title, "height": plan.height});
    if !plan.info.is_empty() {
        entry["info"] = plan.info.clone().into();
    }
    list.push(entry);
    write_schedule(&path, &list)
}

/// Writes a batch, in place of the one that was there, sorted by height.
///
/// # Errors
/// [`ListError`]; the batch is then as before.
pub fn replace_batch(home: &Home, settings: &Settings, plans: &[Plan]) -> Result<(), ListError> {
    let _hold = Hold::of(home)?;
    let mut plans = plans.to_vec();
    plans.sort_by_key(|p| p.height);
    write(&batch_file(settings), &encode_batch(&plans))
}

/// Writes the plan file. Only for commands of the operator who said so.
///
/// # Errors
/// [`ListError::Write`]; the file is then as before.
pub fn write_plan_file(settings: &Settings, plan: &Plan) -> Result<(), ListError> {
    write(&settings.upgrade.plan_file, &encode(plan))
}

/// Takes a plan out of the place it is in, and gives the file that was changed.
///
/// # Errors
/// [`ListError`]; the place is then as before.
pub fn cancel(home: &Home, settings: &Settings, plan: &Plan) -> Result<Vec<PathBuf>, ListError> {
    let _hold = Hold::of(home)?;
    match plan.source {
        Source::PlanFile => {
            let path = settings.upgrade.plan_file.clone();
            let removed = std::fs::remove_file(&path)
                .and_then(|()| files::sync_folder(path.parent().unwrap_or(Path::new("/"))));
            removed.map_err(|source| ListError::Write { path: path.clone(), source })?;
            Ok(vec![path])
        }
        Source::Schedule => {
            let place = (Source::Schedule, home.schedule());
            Ok(without(home, settings, &place, plan, true)?.into_iter().collect())
        }
        Source::Batch => {
            let mut paths = vec![batch_file(settings)];
            paths.extend(plan_files(home));
            let mut changed = Vec::new();
            for path in paths {
                changed.extend(without(home, settings, &(Source::Batch, path), plan, true)?);
            }
            Ok(changed)
        }
    }
}

/// Takes an applied plan out of batch and schedule, whatever its height there: its release runs. A list
/// that cannot be read is left alone: it is a fault of the queue, and holds up no upgrade.
pub(super) fn forget(home: &Home, settings: &Settings, plan: &Plan, _: &Hold) -> Result<(), ListError> {
    for place in [(Source::Batch, batch_file(settings)), (Source::Schedule, home.schedule())] {
        match without(home, settings, &place, plan, false) {
            Ok(_) | Err(ListError::Read(_) | ListError::Shape(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Rewrites a list without a plan; with `exact` only where the height is the same too. Entries that cannot
/// be read as plans stay. Gives the file when it changed.
fn without(
    home: &Home,
    settings: &Settings,
    (source, path): &(Source, PathBuf),
    plan: &Plan,
    exact: bool,
) -> Result<Option<PathBuf>, ListError> {
    let Some(value) = list_in(path)? else { return Ok(None) };
    let list = entries(&value).map(Vec::as_slice).unwrap_or_default();
    let read = |entry: &Value| one(entry, *source, home, settings.upgrade.recase).ok().map(|p| p.0);
    let read: Vec<(&Value, Option<Plan>)> = list.iter().map(|entry| (entry, read(entry))).collect();
    let stays = |entry: &(&Value, Option<Plan>)| {
        entry
            .1
            .as_ref()
            .is_none_or(|p| !name::same(&p.title, &plan.title) || exact && p.height != plan.height)
    };
    let kept: Vec<_> = read.iter().filter(|entry| stays(entry)).collect();
    if kept.len() == list.len() {
        return Ok(None);
    }
    if value.is_array() {
        let entries: Vec<Entry<'_>> =
            kept.iter().map(|(raw, plan)| plan.as_ref().map_or(Entry::Other(raw), Entry::Plan)).collect();
        write(path, &encode_entries(&entries))?;
    } else {
        let kept: Vec<Value> = kept.iter().map(|(raw, _)| (*raw).clone()).collect();
        let mut whole = value.clone();
        whole["upgrades"] = kept.into();
        write(path, format!("{whole:#}\n").as_bytes())?;
    }
    Ok(Some(path.to_owned()))
}

/// The list in a file; `None` when there is no file or nothing in it.
fn list_in(path: &Path) -> Result<Option<Value>, ListError> {
    match read_json(path) {
        Ok(value) if entries(&value).is_some() => Ok(Some(value)),
        Ok(_) => Err(ListError::Shape(path.to_owned())),
        Err(PlanError::Missing(_) | PlanError::Empty(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn write_schedule(path: &Path, list: &[Value]) -> Result<(), ListError> {
    let text = format!("{:#}\n", json!({"schema": 1, "upgrades": list}));
    write(path, text.as_bytes())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ListError> {
    files::replace(path, bytes, MODE).map_err(|source| ListError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Queue;
    use crate::plan::scratch::Scratch;
    use common::id::ReleaseName;

    fn plan(title: &str, height: u64, source: Source) -> Plan {
        let name = ReleaseName::new(title).unwrap();
        Plan { title: title.to_owned(), name, height: Some(height), info: String::new(), source }
    }

    #[test]
    fn writers_take_turns() {
        let host = Scratch::new("wemixvisor");
        let (home, settings) = (&host.home, &host.settings);
        std::thread::scope(|scope| {
            for writer in 0..4 {
                scope.spawn(move || {
                    for n in 1..=10 {
                        let height = writer * 10 + n;
                        let plan = plan(&format!("v{height}"), height, Source::Schedule);
                        schedule(home, &plan).unwrap();
                        if n % 2 == 0 {
                            assert_eq!(cancel(home, settings, &plan).unwrap(), [home.schedule()]);
                        }
                    }
                });
            }
        });
        let heights: Vec<u64> = Queue::read(home, settings).plans.iter().filter_map(|p| p.height).collect();
        assert_eq!(heights, (1..=40).filter(|h| h % 2 == 1).collect::<Vec<u64>>());
    }

    #[test]
    fn a_list_that_cannot_be_read_is_not_written() {
        let host = Scratch::new("wemixvisor");
        let (home, settings) = (&host.home, &host.settings);
        for text in ["{", "7", "{\"upgrades\":5}"] {
            std::fs::write(home.schedule(), text).unwrap();
            assert!(schedule(home, &plan("v2", 5, Source::Schedule)).is_err(), "{text}");
            assert!(cancel(home, settings, &plan("v2", 5, Source::Schedule)).is_err(), "{text}");
            assert_eq!(std::fs::read_to_string(home.schedule()).unwrap(), text);
        }
        // An applied plan is not held up by it.
        forget(home, settings, &plan("v2", 5, Source::Batch), &Hold::of(home).unwrap()).unwrap();
    }

    #[test]
    fn an_applied_plan_is_forgotten_at_every_height_and_without_one() {
        let host = Scratch::new("wemixvisor");
        let (home, settings) = (&host.home, &host.settings);
        let batch = [plan("v2", 5, Source::Batch), plan("v3", 6, Source::Batch)];
        replace_batch(home, settings, &batch).unwrap();
        let at_once = Plan { height: None, ..plan("v2", 1, Source::Schedule) };
        schedule(home, &at_once).unwrap();
        forget(home, settings, &plan("V2", 7, Source::PlanFile), &Hold::of(home).unwrap()).unwrap();
        assert_eq!(Queue::read(home, settings).plans, [plan("v3", 6, Source::Batch)]);
    }
}
