//! What was applied on this host, and writing down that something was.
use super::list::{Hold, ListError, forget};
use super::parse::{height, read_json, title};
use super::{Plan, encode};
use crate::config::Settings;
use crate::home::Home;
use crate::host::files;
use common::id::ReleaseName;
use std::io;
use std::path::PathBuf;

/// Where this host stands, as far as plans are concerned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// The release that `current` points to; `None` where there is no link yet.
    pub running: Option<ReleaseName>,
    /// Name of the upgrade by which it came to run; `None` when it did not come by a plan.
    pub title: Option<String>,
    /// Height of the last upgrade that was applied. A caller that remembers a higher one may raise it.
    pub height: Option<u64>,
    /// Releases that came by a plan at some time, the running one included.
    pub earlier: Vec<ReleaseName>,
}

impl Applied {
    /// Reads the link and the applied plans. An applied plan that cannot be read says nothing: the release
    /// that runs is known by its link.
    pub fn read(home: &Home) -> Applied {
        Applied::beside(home, home.current_target())
    }

    /// As [`Applied::read`], with the release known from elsewhere: the link may be lost, or lead to another one,
    /// and be mended only after plans were looked at.
    pub fn of(home: &Home, running: &ReleaseName) -> Applied {
        Applied::beside(home, Some(running.clone()))
    }

    fn beside(home: &Home, running: Option<ReleaseName>) -> Applied {
        let mut applied = Applied { running, earlier: earlier(home), ..Applied::default() };
        let path = applied.running.as_ref().map(|name| home.applied_plan(name));
        let plan = path.and_then(|path| read_json(&path).ok());
        if let Some(map) = plan.as_ref().and_then(|p| p.as_object()) {
            applied.title = title(map).ok().flatten().map(str::to_owned);
            applied.height = height(map).ok().flatten();
        }
        applied
    }

    /// Whether a plan leads to what runs; case does not matter.
    pub fn is(&self, plan: &Plan) -> bool {
        let running = self.running.as_ref().map(ReleaseName::as_str);
        running.is_some_and(|name| name.eq_ignore_ascii_case(plan.name.as_str()))
            || self.title.as_deref().is_some_and(|title| plan.is_called(title))
    }
}

/// Releases below `upgrades` that have an applied plan.
fn earlier(home: &Home) -> Vec<ReleaseName> {
    let entries = std::fs::read_dir(home.upgrades()).into_iter().flatten().flatten();
    let names = entries.filter_map(|e| ReleaseName::new(e.file_name().to_str()?).ok());
    let mut names: Vec<ReleaseName> = names.filter(|name| home.applied_plan(name).is_file()).collect();
    names.sort();
    names
}

/// Why it could not be written down that a plan was applied.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The applied plan in the release's folder.
    #[error("the applied plan {path} cannot be written: {source}")]
    Plan {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A list that still holds the plan.
    #[error(transparent)]
    List(#[from] ListError),
}

/// Writes down that a plan was applied: its own file in the release's folder, then batch and schedule
/// without it. The plan file is never touched, it belongs to who wrote it. Safe to repeat.
///
/// `head` is the head of the chain when it was applied, for plans without a height of their own. Waits for
/// a command of the operator that is rewriting the same lists.
///
/// # Errors
/// [`RecordError`]; what was written before it stays, and nothing of it makes the plan pending again.
pub fn applied(home: &Home, settings: &Settings, plan: &Plan, head: Option<u64>) -> Result<(), RecordError> {
    let path = home.applied_plan(&plan.name);
    let mut written = plan.clone();
    written.height = plan.height.or(head.filter(|h| *h > 0));
    files::replace(&path, &encode(&written), 0o644).map_err(|source| RecordError::Plan { path, source })?;
    let hold = Hold::of(home)?;
    Ok(forget(home, settings, plan, &hold)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::scratch::Scratch;
    use crate::plan::{Queue, Source, Standing, batch_file, schedule};

    fn host() -> Scratch {
        let host = Scratch::new("cosmovisor");
        for name in ["v1", "v2", "v3"] {
            std::fs::create_dir_all(host.home.upgrades().join(name).join("bin")).unwrap();
        }
        host
    }

    impl Scratch {
        fn read(&self) -> Queue {
            Queue::read(&self.home, &self.settings)
        }

        fn apply(&self, title: &str, head: Option<u64>) {
            let queue = self.read();
            let plan = queue.plans.iter().find(|p| p.title == title).unwrap();
            applied(&self.home, &self.settings, plan, head).unwrap();
            let _ = std::fs::remove_file(self.home.current());
            std::os::unix::fs::symlink(self.home.release_folder(&plan.name), self.home.current()).unwrap();
        }

        fn text(&self, release: &str) -> String {
            let release = ReleaseName::new(release).unwrap();
            std::fs::read_to_string(self.home.applied_plan(&release)).unwrap()
        }
    }

    #[test]
    fn a_batch_is_applied_one_by_one_and_the_plan_file_stays() {
        let host = host();
        let governance = r#"{"name":"V1", "height":10, "mine":true}"#;
        std::fs::write(&host.settings.upgrade.plan_file, governance).unwrap();
        let batch = r#"[{"name":"v2","height":20,"info":"<i>"},{"broken":1},{"name":"v3","height":"30"}]"#;
        std::fs::write(batch_file(&host.settings), batch).unwrap();
        host.apply("v1", None);
        assert_eq!(host.text("v1"), r#"{"name":"v1","time":"0001-01-01T00:00:00Z","height":10}"#);
        assert_eq!(
            std::fs::read_to_string(batch_file(&host.settings)).unwrap(),
            batch,
            "nothing of it applied"
        );
        host.apply("v2", Some(25));
        assert_eq!(
            host.text("v2"),
            r#"{"name":"v2","time":"0001-01-01T00:00:00Z","height":20,"info":"\u003ci\u003e"}"#
        );
        let left = "[\n  {\n    \"broken\": 1\n  },\n  {\n    \"name\": \"v3\",\n    \
                    \"time\": \"0001-01-01T00:00:00Z\",\n    \"height\": 30\n  }\n]";
        assert_eq!(std::fs::read_to_string(batch_file(&host.settings)).unwrap(), left);
        assert_eq!(std::fs::read_to_string(&host.settings.upgrade.plan_file).unwrap(), governance);
        let (queue, state) = (host.read(), Applied::read(&host.home));
        assert_eq!(queue.standings(&state, Some(25), &[]), [Standing::Done, Standing::Next]);
        host.apply("v3", None);
        let state = Applied::read(&host.home);
        let expected = Applied {
            running: Some(ReleaseName::new("v3").unwrap()),
            title: Some("v3".into()),
            height: Some(30),
            earlier: ["v1", "v2", "v3"].map(|n| ReleaseName::new(n).unwrap()).to_vec(),
        };
        assert_eq!(state, expected);
        assert_eq!(host.read().next(&state, Some(35), &[]), None);
    }

    #[test]
    fn a_plan_at_once_gets_the_height_it_was_applied_at() {
        let host = host();
        let plan = Plan {
            title: "v2".into(),
            name: ReleaseName::new("v2").unwrap(),
            height: None,
            info: String::new(),
            source: Source::Schedule,
        };
        schedule(&host.home, &plan).unwrap();
        assert_eq!(host.read().plans, [plan]);
        host.apply("v2", Some(77));
        assert_eq!(host.text("v2"), r#"{"name":"v2","time":"0001-01-01T00:00:00Z","height":77}"#);
        assert_eq!(host.read().plans, []);
        assert_eq!(Applied::read(&host.home).height, Some(77));
        host.apply_again();
    }

    impl Scratch {
        /// Written down twice is as good as once.
        fn apply_again(&self) {
            let plan = Plan {
                title: "v2".into(),
                name: ReleaseName::new("v2").unwrap(),
                height: None,
                info: String::new(),
                source: Source::Schedule,
            };
            let before = self.text("v2");
            applied(&self.home, &self.settings, &plan, Some(77)).unwrap();
            assert_eq!(self.text("v2"), before);
        }
    }

    #[test]
    fn an_applied_plan_that_cannot_be_read_says_nothing() {
        let host = host();
        std::os::unix::fs::symlink(host.home.upgrades().join("v2"), host.home.current()).unwrap();
        for text in ["", "{", "[]", r#"{"name":1,"height":-1}"#] {
            std::fs::write(host.home.applied_plan(&ReleaseName::new("v2").unwrap()), text).unwrap();
            let state = Applied::read(&host.home);
            assert_eq!(state.running.unwrap().as_str(), "v2");
            assert_eq!((state.title, state.height), (None, None), "{text}");
        }
    }
}
