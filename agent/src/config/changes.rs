//! What a change of the settings asks of a running agent.
use super::geth;
use super::key::{Draft, Key, Reload};
use super::keys;
use super::settings::Settings;

/// What changed, as `section.key`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Taken over by the running agent.
    pub reloadable: Vec<String>,
    /// Counts after a restart, of the agent or of the node.
    pub needs_restart: Vec<String>,
}

impl Changes {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.reloadable.is_empty() && self.needs_restart.is_empty()
    }
}

impl Settings {
    /// What is different in `new`.
    pub fn changed(&self, new: &Settings) -> Changes {
        let mut changes = Changes::default();
        for key in different(self, new) {
            match key.reload {
                Reload::Live => changes.reloadable.push(key.path()),
                Reload::Agent | Reload::Node => changes.needs_restart.push(key.path()),
            }
        }
        changes
    }

    /// These settings with everything that can be taken over from `new`; the rest stays as it is.
    pub fn reloaded(&self, new: &Settings) -> Settings {
        let (mut mine, theirs) = (Draft::of(self), Draft::of(new));
        for key in keys::all().filter(|key| key.reload == Reload::Live) {
            let field = (key.at)(&mut mine);
            match (key.get)(&theirs).show() {
                // A value that one of these fields shows is one that it takes.
                Some(value) => drop(field.put(&value)),
                None => field.clear(),
            }
        }
        mine.settings
    }
}

/// The keys whose values differ. Arguments that `[geth]` became are told by its own keys.
fn different(old: &Settings, new: &Settings) -> Vec<&'static Key> {
    let rendered = |s: &Settings| s.node.args == geth::arguments(s);
    let both = rendered(old) && rendered(new);
    let (old, new) = (Draft::of(old), Draft::of(new));
    let differs = |key: &&Key| (key.get)(&old).show() != (key.get)(&new).show();
    keys::all().filter(differs).filter(|key| !(both && key.path() == "node.args")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::time::Span;

    #[test]
    fn what_can_be_taken_over_is_and_the_rest_is_named() {
        let old = Settings::of("/h".into(), "geth".to_owned());
        assert!(old.changed(&old).is_empty());
        let mut new = old.clone();
        new.node.stop = Span::secs(9);
        new.node.variant = Some("x".to_owned());
        new.download.max_bytes = 7;
        new.agent.metrics = "127.0.0.1:1".parse().ok();
        new.geth.cache = Some(5);
        new.node.args = geth::arguments(&new);
        let changes = old.changed(&new);
        assert_eq!(changes.reloadable, ["node.stop", "node.variant", "download.max_bytes"]);
        assert_eq!(changes.needs_restart, ["geth.cache", "agent.metrics"]);
        let reloaded = old.reloaded(&new);
        assert_eq!(reloaded.changed(&new).reloadable, Vec::<String>::new());
        assert_eq!(old.changed(&reloaded).needs_restart, Vec::<String>::new());
        assert_eq!(reloaded.reloaded(&old), old, "what became unset is unset");
    }
}
