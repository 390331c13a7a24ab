//! Settings: flags over environment over file; every error at once.
mod read;
mod settings;

pub use settings::{
    AgentSettings, BackupBefore, BackupSettings, DownloadSettings, HealthSettings, HookSettings, LogFormat,
    LogSettings, NodeSettings, OnExit, Output, Restart, Settings, UpgradeSettings, WebhookSettings,
};

use crate::home::Home;
use crate::sync::coordinator::check_address;
use crate::sync::files::{FleetFiles, Membership};
use common::id::NodeName;
use common::manifest::TrustRoot;
use read::Reader;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The commented sample that `init` writes.
pub const SAMPLE: &str = include_str!("sample.toml");

/// What was said on the command line.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--home`.
    pub home: Option<PathBuf>,
    /// `--name`.
    pub name: Option<String>,
}

/// Everything that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError(pub Vec<String>);

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => write!(f, "the settings cannot be used: {one}"),
            many => {
                write!(f, "the settings cannot be used, {} errors:", many.len())?;
                many.iter().try_for_each(|e| write!(f, "\n  {e}"))
            }
        }
    }
}

impl std::error::Error for SettingsError {}

impl Settings {
    /// Reads file and environment and lays the flags over them.
    ///
    /// # Errors
    /// [`SettingsError`] with everything that is wrong.
    pub fn load(flags: &Flags, env: &dyn Fn(&str) -> Option<String>) -> Result<Settings, SettingsError> {
        let text = match file_of(flags, env) {
            Some(path) => std::fs::read_to_string(&path)
                .map_err(|e| SettingsError(vec![format!("{}: {e}", path.display())]))?,
            None => String::new(),
        };
        Settings::parse(&text, flags, env)
    }

    /// As [`Settings::load`], with the file's text at hand.
    ///
    /// # Errors
    /// [`SettingsError`] with everything that is wrong.
    pub fn parse(
        text: &str,
        flags: &Flags,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Settings, SettingsError> {
        let mut reader = Reader::new(text, env)?;
        let home_flag = flags.home.as_ref().map(|h| h.display().to_string());
        let home = reader.text("node", "home", &["WEMIXVISOR_HOME", "DAEMON_HOME"], home_flag);
        let name = reader.text("node", "name", &["WEMIXVISOR_NAME", "DAEMON_NAME"], flags.name.clone());
        let home = PathBuf::from(home.unwrap_or_default());
        let name = name.unwrap_or_default();
        check_home(&home, &name, &mut reader);
        let args = reader.list("node", "args");
        let rpc = reader.text("node", "rpc", &["WEMIXVISOR_RPC"], None);
        let rpc = rpc.unwrap_or_else(|| "http://127.0.0.1:8545".to_owned());
        if !reqwest::Url::parse(&rpc).is_ok_and(|u| matches!(u.scheme(), "http" | "https")) {
            reader.wrong(format!("[node] rpc: {rpc:?} is no http address"));
        }
        let stop = reader.parsed::<common::time::Span>(
            "node",
            "stop",
            &["WEMIXVISOR_STOP", "DAEMON_SHUTDOWN_GRACE"],
        );
        let variant = reader.text("node", "variant", &[], None);
        let on_exit = reader.parsed::<OnExit>("agent", "on_exit", &["WEMIXVISOR_ON_EXIT"]);
        let log = reader.text("agent", "log", &["WEMIXVISOR_LOG"], None);
        let metrics = reader.parsed::<SocketAddr>("agent", "metrics", &["WEMIXVISOR_METRICS"]);
        if let Some(address) = metrics.filter(|a| !a.ip().is_loopback()) {
            reader.wrong(format!("[agent] metrics: {address} is no loopback address"));
        }
        let joined = membership(&home, &name, &mut reader);
        let fleet = fleet(&mut reader, joined.as_ref());
        let trust = reader.trust().or_else(|| joined.and_then(|m| m.trust));
        if let Some(Err(e)) = trust.as_ref().map(TrustRoot::validate) {
            reader.wrong(format!("[trust] {e}"));
        }
        reader.finish()?;
        let alone = if fleet.is_some() { OnExit::Leave } else { OnExit::Stop };
        let mut settings = Settings::of(home, name);
        settings.node.args = args;
        settings.node.rpc = rpc;
        settings.node.stop = stop.unwrap_or(settings.node.stop);
        settings.node.variant = variant;
        settings.agent = AgentSettings { on_exit: on_exit.unwrap_or(alone), metrics };
        if let Some(log) = log {
            settings.log.filter = log;
        }
        settings.fleet = fleet;
        settings.trust = trust;
        Ok(settings)
    }
}

/// The home as flags and environment say it; for commands that need nothing else.
pub fn home_of(flags: &Flags, env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let said = || ["WEMIXVISOR_HOME", "DAEMON_HOME"].iter().find_map(|k| env(k)).map(PathBuf::from);
    flags.home.clone().or_else(said)
}

fn file_of(flags: &Flags, env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let named = || env("WEMIXVISOR_CONFIG").filter(|p| !p.is_empty()).map(PathBuf::from);
    let usual = || Some(Home::new(home_of(flags, env)?, String::new()).config()).filter(|p| p.exists());
    flags.config.clone().or_else(named).or_else(usual)
}

fn check_home(home: &Path, name: &str, reader: &mut Reader<'_>) {
    if home.as_os_str().is_empty() {
        reader.wrong("no home is given: --home, DAEMON_HOME or [node] home".to_owned());
    } else if !home.is_absolute() {
        reader.wrong(format!("the home {} is not absolute", home.display()));
    }
    if name.is_empty() {
        reader.wrong("no chain client is given: --name, DAEMON_NAME or [node] name".to_owned());
    } else if name.contains('/') || name == "." || name == ".." {
        reader.wrong(format!("{name:?} is no file name"));
    }
}

fn membership(home: &Path, name: &str, reader: &mut Reader<'_>) -> Option<Membership> {
    let files = FleetFiles::new(Home::new(home.to_owned(), name.to_owned()).fleet());
    match files.read_membership() {
        Ok(joined) => joined,
        Err(e) => {
            reader.wrong(e.to_string());
            None
        }
    }
}

fn fleet(reader: &mut Reader<'_>, joined: Option<&Membership>) -> Option<(String, NodeName)> {
    let url = reader.text("fleet", "url", &["WEMIXVISOR_FLEET_URL"], None);
    let node = reader.parsed::<NodeName>("fleet", "node", &["WEMIXVISOR_FLEET_NODE"]);
    let url = url.or_else(|| joined.map(|m| m.url.clone()));
    let node = node.or_else(|| joined.map(|m| m.node.clone()));
    if let Some(Err(e)) = url.as_deref().map(check_address) {
        reader.wrong(format!("[fleet] url: {e}"));
    }
    match (url, node) {
        (Some(url), Some(node)) => Some((url, node)),
        (None, None) => None,
        (Some(_), None) => {
            reader.wrong("[fleet] node is missing".to_owned());
            None
        }
        (None, Some(_)) => {
            reader.wrong("[fleet] url is missing".to_owned());
            None
        }
    }
}

impl std::str::FromStr for OnExit {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "stop" => Ok(OnExit::Stop),
            "leave" => Ok(OnExit::Leave),
            other => Err(format!("{other:?} is neither \"stop\" nor \"leave\"")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::time::Span;

    fn parse(text: &str, env: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let flags = Flags { home: Some("/nowhere".into()), name: Some("geth".into()), config: None };
        let get = |key: &str| env.iter().find(|(k, _)| *k == key).map(|(_, v)| (*v).to_owned());
        Settings::parse(text, &flags, &get)
    }

    #[test]
    fn the_sample_parses_as_it_is_and_with_every_key_on() {
        assert_eq!(parse(SAMPLE, &[]).unwrap().agent.on_exit, OnExit::Stop);
        let on: Vec<String> = SAMPLE
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(rest) if rest.contains(" = ") || rest.starts_with('[') => rest.to_owned(),
                _ => line.to_owned(),
            })
            .filter(|line| !line.starts_with("keys") && !line.starts_with("threshold"))
            .collect();
        let settings = parse(&on.join("\n"), &[]).unwrap();
        assert_eq!(settings.fleet.unwrap().1.as_str(), "val-01");
        assert_eq!(settings.node.args.len(), 5);
    }

    #[test]
    fn all_errors_come_at_once() {
        let text = "schema = 1\nnonsense = 2\n[node]\nrpx = 1\nstop = \"5\"\n[agent]\nmetrics = \"0.0.0.0:1\"\n\
                    on_exit = 3\n[fleet]\nurl = \"http://10.0.0.1\"\n[trust]\nthreshold = 2\nkeys = []\n";
        let SettingsError(errors) = parse(text, &[]).unwrap_err();
        for part in [
            "nonsense",
            "[node] rpx",
            "[node] stop",
            "metrics",
            "on_exit",
            "https",
            "node is missing",
            "threshold",
        ] {
            assert!(errors.iter().any(|e| e.contains(part)), "{part}: {errors:#?}");
        }
        let none = Settings::parse("", &Flags::default(), &|_| None).unwrap_err();
        assert_eq!(none.0.len(), 2, "{none}");
    }

    #[test]
    fn environment_wins_over_the_file_and_a_fleet_leaves_the_node() {
        let text = "schema = 1\n[node]\nstop = \"1m\"\n[fleet]\nurl = \"https://a\"\nnode = \"n\"\n[trust]\n";
        let settings = parse(text, &[("DAEMON_SHUTDOWN_GRACE", "30s")]).unwrap();
        assert_eq!(settings.node.stop, Span::secs(30));
        assert_eq!(settings.agent.on_exit, OnExit::Leave);
        assert_eq!(settings.trust, None);
        assert!(parse("schema = 2", &[]).unwrap_err().to_string().contains("schema"));
        assert!(parse("[node", &[]).is_err());
    }
}
