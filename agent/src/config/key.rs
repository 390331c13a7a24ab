//! A key of the settings: what it is called, how it is read, and where its value goes.
use super::duration;
use super::field::{Field, Kind, Value, strict_bool};
use super::settings::Settings;
use common::id::NodeName;
use common::manifest::TrustRoot;
use std::path::PathBuf;
use std::sync::LazyLock;

/// One key.
pub struct Key {
    /// Section of the file.
    pub section: &'static str,
    /// Name in the section.
    pub name: &'static str,
    /// Who has to be restarted before a change counts.
    pub reload: Reload,
    /// Variables that say it, the strongest first; `WEMIXVISOR_<SECTION>_<KEY>` comes after our own short ones.
    pub env: &'static [(&'static str, Meaning)],
    /// An example for keys without a default.
    pub example: &'static str,
    /// The default in words, where it depends on how the agent runs or on other keys.
    pub usual: &'static str,
    /// What it does.
    pub help: &'static str,
    pub(super) get: fn(&Draft) -> &dyn Field,
    pub(super) at: fn(&mut Draft) -> &mut dyn Field,
}

/// A table of keys: section, name, what a change needs, place, variables, example, default in words, help.
macro_rules! keys {
    ($($section:literal $name:literal $reload:ident ($($at:ident).+) [$($variable:literal $meaning:ident),*]
       $example:literal $usual:literal $help:literal;)*) => {
        &[$(Key {
            section: $section,
            name: $name,
            reload: Reload::$reload,
            env: &[$(($variable, $crate::config::key::Meaning::$meaning)),*],
            example: $example,
            usual: $usual,
            help: $help,
            get: |draft: &Draft| &draft.$($at).+,
            at: |draft: &mut Draft| &mut draft.$($at).+,
        }),*]
    };
}
pub(super) use keys;

/// What a change needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// A running agent takes it over (SIGHUP).
    Live,
    /// The agent is started again; the node may go on.
    Agent,
    /// The node is started again.
    Node,
}

impl Reload {
    /// For tables.
    pub fn name(self) -> &'static str {
        match self {
            Reload::Live => "reload",
            Reload::Agent => "restart of the agent",
            Reload::Node => "restart of the node",
        }
    }
}

/// How a variable is to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// As the file's text, without its quotes.
    Ours,
    /// As the incumbents read it: strict booleans, Go durations above zero.
    Theirs,
    /// A strict boolean that says the opposite.
    Not,
    /// A strict boolean: true is `"never"`, false says nothing.
    SkipBackup,
    /// A strict boolean: true is `"off"`, false says nothing.
    Silence,
    /// A strict boolean: true is `"debug"`, false says nothing.
    Debug,
    /// A strict boolean: true is `"on-failure"`, false is `"never"`.
    OnFailure,
    /// A name of a time format; the empty text is one too.
    TimeFormat,
    /// A URL, an absolute path, or `HOST:PORT`.
    Address,
}

impl Key {
    /// `section.key`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// `[section] key`, as in messages about a file.
    pub fn place(&self) -> String {
        format!("[{}] {}", self.section, self.name)
    }

    /// What can stand behind it.
    pub fn kind(&self) -> Kind {
        if self.name.ends_with("_bytes") {
            return Kind::Bytes;
        }
        (self.get)(Draft::pattern()).kind()
    }

    /// `WEMIXVISOR_<SECTION>_<KEY>`.
    pub fn own_variable(&self) -> String {
        format!("WEMIXVISOR_{}_{}", self.section, self.name).to_uppercase()
    }

    /// All its variables with their meanings, the strongest first.
    pub fn variables(&self) -> Vec<(String, Meaning)> {
        let named = |(name, meaning): &(&str, Meaning)| ((*name).to_owned(), *meaning);
        let ours = self.env.iter().filter(|(name, _)| name.starts_with("WEMIXVISOR_")).map(named);
        let theirs = self.env.iter().filter(|(name, _)| !name.starts_with("WEMIXVISOR_")).map(named);
        ours.chain([(self.own_variable(), Meaning::Ours)]).chain(theirs).collect()
    }

    /// Reads a text from the command line or a variable. `None`: the text says nothing.
    ///
    /// # Errors
    /// Why it cannot be the key's value.
    pub fn read(&self, text: &str, meaning: Meaning) -> Result<Option<Value>, String> {
        if text.is_empty() && meaning != Meaning::TimeFormat {
            return Ok(None);
        }
        let word = |when: bool, word: &str| Ok(when.then(|| Value::Text(word.to_owned())));
        match meaning {
            Meaning::Ours => self.kind().of_text(text, matches!(self.name, "args" | "extra")).map(Some),
            Meaning::Theirs if self.kind() == Kind::Span => match duration::go(text)? {
                common::time::Span::ZERO => Err(format!("{text:?}: it must be longer than nothing")),
                span => Ok(Some(Value::Text(span.to_string()))),
            },
            Meaning::Theirs => self.kind().of_text(text, false).map(Some),
            Meaning::Not => strict_bool(text).map(|b| Some(Value::Bool(!b))),
            Meaning::SkipBackup => word(strict_bool(text)?, "never"),
            Meaning::Silence => word(strict_bool(text)?, "off"),
            Meaning::Debug => word(strict_bool(text)?, "debug"),
            Meaning::OnFailure => {
                let restart = if strict_bool(text)? { "on-failure" } else { "never" };
                word(true, restart)
            }
            Meaning::TimeFormat => super::check::time_format(text).map(|name| Some(Value::Text(name))),
            Meaning::Address if text.contains("://") || text.starts_with('/') => word(true, text),
            Meaning::Address => word(true, &format!("http://{text}")),
        }
    }
}

/// Settings in the making: what is only complete together stands apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The finished part.
    pub(super) settings: Settings,
    pub(super) webhook_url: Option<String>,
    pub(super) webhook_secret: Option<PathBuf>,
    pub(super) webhook_on: Vec<String>,
    pub(super) fleet_url: Option<String>,
    pub(super) fleet_node: Option<NodeName>,
    pub(super) trust_threshold: Option<u64>,
    pub(super) trust_keys: Vec<String>,
}

impl Default for Draft {
    /// The defaults of a home called HOME, as documents show them.
    fn default() -> Draft {
        Draft::of(&Settings::of("HOME".into(), "NAME".to_owned()))
    }
}

/// Made once: it is asked for the kind of every key.
static PATTERN: LazyLock<Draft> = LazyLock::new(Draft::default);

impl Draft {
    /// The defaults of a home called HOME.
    pub(super) fn pattern() -> &'static Draft {
        &PATTERN
    }

    /// Takes settings apart.
    pub fn of(settings: &Settings) -> Draft {
        let (webhook, trust) = (settings.webhook.as_ref(), settings.trust.as_ref());
        Draft {
            webhook_url: webhook.map(|w| w.url.clone()),
            webhook_secret: webhook.and_then(|w| w.secret_file.clone()),
            webhook_on: webhook.map(|w| w.on.clone()).unwrap_or_default(),
            fleet_url: settings.fleet.as_ref().map(|(url, _)| url.clone()),
            fleet_node: settings.fleet.as_ref().map(|(_, node)| node.clone()),
            trust_threshold: trust.map(|t| t.threshold as u64),
            trust_keys: trust.map(|t| t.keys.clone()).unwrap_or_default(),
            settings: settings.clone(),
        }
    }

    /// The maintainers as far as they were said.
    pub(super) fn trust(&self) -> Option<TrustRoot> {
        if self.trust_threshold.is_none() && self.trust_keys.is_empty() {
            return None;
        }
        let threshold = self.trust_threshold.and_then(|t| usize::try_from(t).ok()).unwrap_or_default();
        Some(TrustRoot { threshold, keys: self.trust_keys.clone() })
    }
}
