//! Settings: flags over environment over file; every error at once.
//!
//! One table of keys ([`keys`]) says what there is; reading, showing, documents and comparison follow it.
mod changes;
mod check;
mod duration;
mod edit;
mod field;
mod geth;
mod ignored;
mod key;
mod keys;
mod legacy;
mod listing;
mod load;
mod migrate;
mod network;
mod rows;
mod settings;
mod show;
mod source;
mod template;
mod text;

pub use changes::Changes;
pub use edit::{Edit, EditError, edit};
pub use geth::{GethSettings, arguments};
pub use ignored::unknown as unknown_variables;
pub use key::Reload;
pub use listing::listing;
pub use load::{Loaded, Origin, files_of};
pub use migrate::{MigrateError, Migration, migrate};
pub use network::{Judgement, judge};
pub use settings::{
    AgentSettings, BackupBefore, BackupSettings, DownloadSettings, HealthSettings, HookSettings, LogFormat,
    LogSettings, NodeSettings, OnExit, Output, Restart, Settings, UpgradeSettings, WebhookSettings,
};
pub use show::{Form as ShowForm, show};
pub use source::{Form, Source};
pub use template::{Template, TemplateError, templates};
pub use text::{document, sample};

use std::fmt;
use std::path::PathBuf;

/// The commented sample that `init` writes.
pub const SAMPLE: &str = include_str!("sample.toml");

/// What was said on the command line, and how the agent was called.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--home`.
    pub home: Option<PathBuf>,
    /// `--name`.
    pub name: Option<String>,
    /// `--cosmovisor-config`: cosmovisor's `config.toml`, under our own file.
    pub cosmovisor_config: Option<PathBuf>,
    /// Whether the agent was called as `cosmovisor`. A home with only a `cosmovisor` folder counts too.
    pub as_cosmovisor: bool,
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
    /// Reads files and environment and lays the flags over them. [`Loaded::load`] gives warnings and origins too.
    ///
    /// # Errors
    /// [`SettingsError`] with everything that is wrong.
    pub fn load(flags: &Flags, env: &dyn Fn(&str) -> Option<String>) -> Result<Settings, SettingsError> {
        Loaded::load(flags, env).map(|loaded| loaded.settings)
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
        Loaded::parse(text, flags, env).map(|loaded| loaded.settings)
    }
}

/// The home as flags and environment say it; for commands that need nothing else.
pub fn home_of(flags: &Flags, env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let variables = ["WEMIXVISOR_HOME", "WEMIXVISOR_NODE_HOME", "DAEMON_HOME"];
    let said = || variables.iter().find_map(|k| env(k).filter(|v| !v.is_empty())).map(PathBuf::from);
    flags.home.clone().or_else(said)
}

#[cfg(test)]
mod tests;
