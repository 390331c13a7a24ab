//! What is pending on this host, from every place that can say so.
use super::list::{batch_file, entries, plan_files};
use super::parse::{PlanError, one, read_json, read_plan_file};
use super::{Plan, Source};
use crate::config::Settings;
use crate::home::Home;
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};

/// How a file of plans falls short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Empty or half-written: it is looked at again.
    NotYet,
    /// It is followed, but something in it is not.
    Warning,
    /// It, or the plan in it, cannot be followed until somebody writes it again.
    Malformed,
    /// It cannot be read.
    Unreadable,
}

/// Something wrong with a file of plans. A state that is shown, never an end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanFault {
    /// The file.
    pub path: PathBuf,
    /// How it falls short.
    pub kind: FaultKind,
    /// What is wrong and what to do; names the file.
    pub detail: String,
}

impl PlanFault {
    fn of(path: &Path, error: &PlanError) -> PlanFault {
        let kind = match error {
            e if e.is_not_yet() => FaultKind::NotYet,
            PlanError::Read { .. } => FaultKind::Unreadable,
            _ => FaultKind::Malformed,
        };
        PlanFault { path: path.to_owned(), kind, detail: error.to_string() }
    }
}

impl fmt::Display for PlanFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

/// All plans of this host and what is wrong with their files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Queue {
    /// At once first, then by height; at one height in the order of [`Source`].
    pub plans: Vec<Plan>,
    /// What cannot be followed.
    pub faults: Vec<PlanFault>,
}

impl Queue {
    /// Reads every place there is. A place that is not there is empty, a bad one is a fault.
    pub fn read(home: &Home, settings: &Settings) -> Queue {
        let (upgrade, mut queue) = (&settings.upgrade, Queue::default());
        match read_plan_file(home, &upgrade.plan_file, upgrade.recase) {
            Ok((plan, warning)) => queue.add(&upgrade.plan_file, "", plan, warning),
            Err(PlanError::Missing(_)) => {}
            Err(error) => queue.faults.push(PlanFault::of(&upgrade.plan_file, &error)),
        }
        queue.read_list(home, &batch_file(settings), upgrade.recase, Source::Batch);
        for path in plan_files(home) {
            queue.read_list(home, &path, upgrade.recase, Source::Batch);
        }
        queue.read_list(home, &home.schedule(), upgrade.recase, Source::Schedule);
        // Stable: within one place the order in which they were written decides.
        queue.plans.sort_by_key(|p| (p.height.unwrap_or(0), p.source));
        queue
    }

    /// A bad entry of a list does not keep the others from being followed.
    fn read_list(&mut self, home: &Home, path: &Path, recase: bool, source: Source) {
        let value = match read_json(path) {
            Ok(value) => value,
            Err(PlanError::Missing(_)) => return,
            Err(error) => return self.faults.push(PlanFault::of(path, &error)),
        };
        let Some(list) = entries(&value) else {
            let detail = format!(
                "{}: a list of plans is expected, or an object with one in \"upgrades\"",
                path.display()
            );
            let kind = FaultKind::Malformed;
            return self.faults.push(PlanFault { path: path.to_owned(), kind, detail });
        };
        for (at, entry) in list.iter().enumerate() {
            match one(entry, source, home, recase) {
                Ok((plan, warning)) => self.add(path, &format!(", plan {}", at + 1), plan, warning),
                Err(flaw) => self.faults.push(PlanFault {
                    path: path.to_owned(),
                    kind: FaultKind::Malformed,
                    detail: format!("{}, plan {}: {flaw}", path.display(), at + 1),
                }),
            }
        }
    }

    fn add(&mut self, path: &Path, place: &str, plan: Plan, warning: Option<&str>) {
        if let Some(warning) = warning {
            self.faults.push(PlanFault {
                path: path.to_owned(),
                kind: FaultKind::Warning,
                detail: format!("{}{place}: {warning}", path.display()),
            });
        }
        self.plans.push(plan);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::scratch::Scratch;

    fn titles(queue: &Queue) -> Vec<(&str, Option<u64>, Source)> {
        queue.plans.iter().map(|p| (p.title.as_str(), p.height, p.source)).collect()
    }

    #[test]
    fn every_place_is_read_and_sorted() {
        let host = Scratch::with_plans();
        let (home, settings) = (&host.home, &host.settings);
        assert_eq!(Queue::read(home, settings), Queue::default());
        std::fs::write(&settings.upgrade.plan_file, r#"{"name":"v3","height":300}"#).unwrap();
        let batch = r#"[{"name":"V5","height":500},{"name":"v1","height":"100"}]"#;
        std::fs::write(batch_file(settings), batch).unwrap();
        let plan = r#"{"version":"1.0","name":"x","upgrades":[{"name":"v4","height":400,"info":{"a":1}}]}"#;
        std::fs::write(home.plans().join("x-20250101-000000.json"), plan).unwrap();
        std::fs::write(home.plans().join("notes.txt"), "not a plan").unwrap();
        std::fs::write(home.plans().join(".x.json.new"), "not a plan").unwrap();
        let schedule = r#"{"upgrades":[{"name":"b","height":300},{"name":"now","height":null}]}"#;
        std::fs::write(home.schedule(), schedule).unwrap();
        let queue = Queue::read(home, settings);
        assert_eq!(queue.faults, []);
        let (file, batch, schedule) = (Source::PlanFile, Source::Batch, Source::Schedule);
        let expected = [
            ("now", None, schedule),
            ("v1", Some(100), batch),
            ("v3", Some(300), file),
            ("b", Some(300), schedule),
            ("v4", Some(400), batch),
            ("v5", Some(500), batch),
        ];
        assert_eq!(titles(&queue), expected);
        assert_eq!(queue.plans[4].info, r#"{"a":1}"#);
    }

    #[test]
    fn a_bad_place_is_a_fault_and_the_rest_is_followed() {
        let host = Scratch::with_plans();
        let (home, settings) = (&host.home, &host.settings);
        std::fs::write(&settings.upgrade.plan_file, "{").unwrap();
        let batch = r#"[{"name":"ok","height":5,"time":"2030-01-01T00:00:00Z"},{"name":"..","height":6},7]"#;
        std::fs::write(batch_file(settings), batch).unwrap();
        std::fs::write(home.plans().join("a.json"), "{}").unwrap();
        std::fs::create_dir(home.schedule()).unwrap();
        let queue = Queue::read(home, settings);
        assert_eq!(titles(&queue), [("ok", Some(5), Source::Batch)]);
        let kinds: Vec<_> = queue.faults.iter().map(|f| f.kind).collect();
        use FaultKind::{Malformed, NotYet, Warning};
        assert_eq!(kinds, [NotYet, Warning, Malformed, Malformed, Malformed, Malformed], "{queue:#?}");
        assert!(queue.faults[2].detail.contains("plan 2"), "{}", queue.faults[2]);
        let named = |f: &PlanFault| f.detail.contains(&f.path.display().to_string());
        assert!(queue.faults.iter().all(named), "{queue:#?}");
    }
}
