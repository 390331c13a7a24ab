//! Reading: flags over environment over files over defaults, with the origin of every value.
use super::check::{self, Findings};
use super::field::Value;
use super::key::{Draft, Key};
use super::settings::{BackupBefore, OnExit, Output, Restart, Settings, WebhookSettings};
use super::source::Source;
use super::{Flags, SettingsError, geth, home_of, ignored, keys};
use crate::home::Home;
use crate::sync::coordinator::check_address;
use crate::sync::files::{FleetFiles, Membership};
use common::manifest::TrustRoot;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Settings with everything that was learnt while they were read.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// What people should know; logged by whoever loads.
    pub warnings: Vec<String>,
    /// Where every value came from, by `section.key`.
    pub origins: BTreeMap<String, Origin>,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag(&'static str),
    /// A variable.
    Environment(String),
    /// A file; without a path it was a text at hand.
    File(Option<PathBuf>),
    /// What `enroll` wrote down.
    Enrolment(PathBuf),
    /// Another section.
    Section(&'static str),
    /// Nobody said it; the way the agent runs, where that decides.
    Default(Option<&'static str>),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag(name) => write!(f, "flag {name}"),
            Origin::Environment(name) => write!(f, "env {name}"),
            Origin::File(Some(path)) => write!(f, "file {}", path.display()),
            Origin::File(None) => f.write_str("file"),
            Origin::Enrolment(path) => write!(f, "enrolment {}", path.display()),
            Origin::Section(name) => write!(f, "section [{name}]"),
            Origin::Default(None) => f.write_str("default"),
            Origin::Default(Some(way)) => write!(f, "default ({way})"),
        }
    }
}

type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Loaded {
    /// Reads the files that flags, environment and home name, and lays environment and flags over them.
    ///
    /// # Errors
    /// [`SettingsError`] with everything that is wrong.
    pub fn load(flags: &Flags, env: Env<'_>) -> Result<Loaded, SettingsError> {
        let mut sources = Vec::new();
        for path in files_of(flags, env) {
            sources.push(Source::open(&path)?);
        }
        Loaded::of(&sources, flags, env)
    }

    /// As [`Loaded::load`], with the text of the one file at hand.
    ///
    /// # Errors
    /// [`SettingsError`] with everything that is wrong.
    pub fn parse(text: &str, flags: &Flags, env: Env<'_>) -> Result<Loaded, SettingsError> {
        Loaded::of(&[Source::read(text)?], flags, env)
    }

    /// As [`Loaded::load`], with the files read already, the weakest first.
    ///
    /// # Errors
    /// [`SettingsError`] with everything that is wrong.
    pub fn of(sources: &[Source], flags: &Flags, env: Env<'_>) -> Result<Loaded, SettingsError> {
        let mut reading = Reading::default();
        for source in sources {
            reading.file(source);
        }
        for key in keys::all() {
            reading.environment(key, env);
        }
        for (flag, path, said) in [
            ("--home", "node.home", flags.home.as_ref().map(|h| h.display().to_string())),
            ("--name", "node.name", flags.name.clone()),
        ] {
            if let (Some(said), Ok(key)) = (said, keys::named(path)) {
                reading.admit(key, Value::Text(said), Origin::Flag(flag), flag);
            }
        }
        reading.complete(flags, env)
    }
}

/// The files to read, the weakest first: cosmovisor's, then ours or what stands in its place.
pub fn files_of(flags: &Flags, env: Env<'_>) -> Vec<PathBuf> {
    let named = || env("WEMIXVISOR_CONFIG").filter(|p| !p.is_empty()).map(PathBuf::from);
    let usual = || Some(Home::new(home_of(flags, env)?, String::new()).config()).filter(|p| p.exists());
    let ours = flags.config.clone().or_else(named).or_else(usual);
    flags.cosmovisor_config.clone().into_iter().chain(ours).collect()
}

#[derive(Default)]
struct Reading {
    given: BTreeMap<String, (&'static Key, Value, Origin)>,
    findings: Findings,
}

impl Reading {
    /// Takes a value in place of a weaker one, when it can be one at all.
    fn admit(&mut self, key: &'static Key, value: Value, origin: Origin, said: &str) {
        match (key.at)(&mut Draft::pattern().clone()).put(&value) {
            Ok(()) => {
                self.given.insert(key.path(), (key, value, origin));
            }
            Err(e) => self.findings.errors.push(format!("{said}: {e}")),
        }
    }

    fn file(&mut self, source: &Source) {
        // Among several files an error needs the name of its own.
        let place = source.path.as_ref().map(|p| format!("{}: ", p.display())).unwrap_or_default();
        self.findings.errors.extend(source.errors.iter().map(|e| format!("{place}{e}")));
        for dropped in source.dropped.iter().filter(|dropped| dropped.loud) {
            self.findings.warnings.push(format!("{place}{} is ignored: {}", dropped.said, dropped.why));
        }
        for found in &source.values {
            let origin = Origin::File(source.path.clone());
            self.admit(found.key, found.value.clone(), origin, &format!("{place}{}", found.said));
        }
    }

    fn environment(&mut self, key: &'static Key, env: Env<'_>) {
        for (name, meaning) in key.variables() {
            let Some(text) = env(&name) else { continue };
            let said = format!("{} (env {name})", key.place());
            match key.read(&text, meaning) {
                Ok(None) => {}
                Ok(Some(value)) => return self.admit(key, value, Origin::Environment(name), &said),
                Err(e) => return self.findings.errors.push(format!("{said}: {e}")),
            }
        }
    }

    fn text(&self, path: &str) -> String {
        self.given.get(path).map(|(_, value, _)| value.to_string()).unwrap_or_default()
    }

    /// Puts the settings together.
    fn complete(mut self, flags: &Flags, env: Env<'_>) -> Result<Loaded, SettingsError> {
        let (home, name) = (PathBuf::from(self.text("node.home")), self.text("node.name"));
        let Findings { errors, warnings } = &mut self.findings;
        check_home(&home, &name, errors);
        ignored::look(&home, env, errors, warnings);
        let layout = Home::new(home.clone(), name.clone());
        let files = FleetFiles::new(layout.fleet());
        // Without a home there is nothing to look into; the folder we happen to be in is not it.
        let known = home.is_absolute();
        let joined = if known { files.read_membership() } else { Ok(None) };
        let joined = joined.map_err(|e| errors.push(e.to_string())).ok().flatten();
        let mut origins = BTreeMap::new();
        let in_fleet = self.given.contains_key("fleet.url") || joined.is_some();
        let as_cosmovisor = flags.as_cosmovisor || known && layout.root() == home.join("cosmovisor");
        let mut draft = Draft::of(&Settings::of(home, name));
        ways(&mut draft.settings, in_fleet, as_cosmovisor, &mut origins);
        self.fill(&mut draft, &mut origins);
        derive(&mut draft.settings, &self.given, &mut origins);
        let membership = joined.as_ref().map(|j| (j, files.membership()));
        let settings = self.join(draft, membership, &mut origins);
        let findings = check::check(&settings);
        self.findings.errors.extend(findings.errors);
        self.findings.warnings.extend(findings.warnings);
        if self.given.contains_key("backup.dir") {
            check::backup_dir_is_there(&settings, &mut self.findings.errors);
        }
        for key in keys::all() {
            origins.entry(key.path()).or_insert(Origin::Default(None));
        }
        match self.findings.errors.is_empty() {
            true => Ok(Loaded { settings, warnings: self.findings.warnings, origins }),
            false => Err(SettingsError(self.findings.errors)),
        }
    }

    /// Puts everything that was said over the defaults.
    fn fill(&mut self, draft: &mut Draft, origins: &mut BTreeMap<String, Origin>) {
        let data_dir = self.given.get("node.data_dir").or_else(|| self.given.get("geth.datadir"));
        if let Some((key, value, _)) = data_dir {
            let folder = PathBuf::from(value.to_string());
            if key.section == "geth" {
                origins.insert("node.data_dir".to_owned(), Origin::Section("geth"));
            }
            draft.settings.upgrade.plan_file = folder.join("upgrade-info.json");
            draft.settings.node.data_dir = folder;
        }
        for (path, (key, value, origin)) in &self.given {
            if let Err(e) = (key.at)(draft).put(value) {
                self.findings.errors.push(format!("{}: {e}", key.place()));
            }
            origins.insert(path.clone(), origin.clone());
        }
    }

    /// Completes what stands apart: webhook, fleet and trust.
    fn join(
        &mut self,
        draft: Draft,
        joined: Option<(&Membership, PathBuf)>,
        origins: &mut BTreeMap<String, Origin>,
    ) -> Settings {
        let errors = &mut self.findings.errors;
        let trust = draft.trust();
        let Draft { mut settings, webhook_url, webhook_secret, webhook_on, fleet_url, fleet_node, .. } =
            draft;
        settings.webhook = match webhook_url {
            Some(url) => Some(WebhookSettings { url, secret_file: webhook_secret, on: webhook_on }),
            None => {
                if webhook_secret.is_some() || !webhook_on.is_empty() {
                    errors.push("[webhook] url is missing".to_owned());
                }
                None
            }
        };
        if let Some((_, path)) = &joined {
            let mut enrolled = |key: &str| {
                origins.entry(key.to_owned()).or_insert_with(|| Origin::Enrolment(path.clone()));
            };
            ["fleet.url", "fleet.node"].iter().for_each(|key| enrolled(key));
            if trust.is_none() {
                ["trust.threshold", "trust.keys"].iter().for_each(|key| enrolled(key));
            }
        }
        let membership = joined.map(|(membership, _)| membership);
        let url = fleet_url.or_else(|| membership.map(|m| m.url.clone()));
        let node = fleet_node.or_else(|| membership.map(|m| m.node.clone()));
        if let Some(Err(e)) = url.as_deref().map(check_address) {
            errors.push(format!("[fleet] url: {e}"));
        }
        settings.fleet = match (url, node) {
            (Some(url), Some(node)) => Some((url, node)),
            (None, None) => None,
            (Some(_), None) => {
                errors.push("[fleet] node is missing".to_owned());
                None
            }
            (None, Some(_)) => {
                errors.push("[fleet] url is missing".to_owned());
                None
            }
        };
        settings.trust = trust.or_else(|| membership.and_then(|m| m.trust.clone()));
        if let Some(Err(e)) = settings.trust.as_ref().map(TrustRoot::validate) {
            errors.push(format!("[trust] {e}"));
        }
        settings
    }
}

/// Defaults that depend on the way the agent runs. In a fleet the coordinator counts on the node being up.
fn ways(
    settings: &mut Settings,
    in_fleet: bool,
    as_cosmovisor: bool,
    origins: &mut BTreeMap<String, Origin>,
) {
    let mut by = |keys: &[&str], way| {
        origins.extend(keys.iter().map(|key| ((*key).to_owned(), Origin::Default(Some(way)))));
    };
    if as_cosmovisor {
        settings.node.restart = Restart::Never;
        settings.node.output = Output::Inherit;
        settings.hooks.node_command = true;
        settings.log.time = "kitchen".to_owned();
        by(&["node.restart", "node.output", "hooks.node_command", "log.time"], "as cosmovisor");
    }
    if in_fleet {
        settings.node.restart = Restart::Always;
        settings.agent.on_exit = OnExit::Leave;
        settings.backup.before_upgrade = BackupBefore::Reflink;
        by(&["node.restart", "agent.on_exit", "backup.before_upgrade"], "in a fleet");
    }
}

/// What follows from `[geth]` where `[node]` says nothing: arguments, and where the node answers.
fn derive(
    settings: &mut Settings,
    given: &BTreeMap<String, (&'static Key, Value, Origin)>,
    origins: &mut BTreeMap<String, Origin>,
) {
    if settings.node.args.is_empty() && !settings.geth.is_empty() {
        settings.node.args = geth::arguments(settings);
        origins.insert("node.args".to_owned(), Origin::Section("geth"));
    }
    if !given.contains_key("node.rpc")
        && let Some(rpc) = geth::rpc(&settings.geth)
    {
        settings.node.rpc = rpc;
        origins.insert("node.rpc".to_owned(), Origin::Section("geth"));
    }
}

fn check_home(home: &Path, name: &str, errors: &mut Vec<String>) {
    if home.as_os_str().is_empty() {
        errors.push("no home is given: --home, DAEMON_HOME or [node] home".to_owned());
    } else if !home.is_absolute() {
        errors.push(format!("the home {} is not absolute", home.display()));
    }
    if name.is_empty() {
        errors.push("no chain client is given: --name, DAEMON_NAME or [node] name".to_owned());
    } else if name.contains('/') || name == "." || name == ".." {
        errors.push(format!("{name:?} is no file name"));
    }
}
