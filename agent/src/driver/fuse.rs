//! A test's way to end the agent at an exact step, as SIGKILL would. It is there in debug builds only.
use common::machine::{Effect, Ledger};

/// `after:7` is after the seventh effect that others can see was carried out; `before:3` is before anything of the
/// third step that wants such effects.
const VARIABLE: &str = "WEMIXVISOR_TEST_DIE";

/// Counts effects, and ends the agent at one of them.
#[derive(Debug, Default)]
pub(super) struct Fuse {
    after: Option<u32>,
    before: Option<u32>,
    effects: u32,
    steps: u32,
    /// Last ledger written, without what only looks at the node change.
    written: Option<Box<Ledger>>,
}

impl Fuse {
    pub(super) fn of_environment() -> Fuse {
        let text = if cfg!(debug_assertions) { std::env::var(VARIABLE).ok() } else { None };
        let at = |form: &str| text.as_deref()?.strip_prefix(form)?.parse().ok();
        Fuse { after: at("after:"), before: at("before:"), ..Fuse::default() }
    }

    fn is_set(&self) -> bool {
        self.after.is_some() || self.before.is_some()
    }

    /// What an effect is called, when it is one that others can see. When looks at the node are written down depends on
    /// the time, and would make the count differ from run to run.
    pub(super) fn name(&mut self, effect: &Effect) -> Option<String> {
        if !self.is_set() {
            return None;
        }
        match effect {
            Effect::Watch { .. } | Effect::Report => None,
            Effect::Persist(ledger) => {
                let ledger = Box::new(Ledger { head: None, last_start: None, ..(**ledger).clone() });
                let new = self.written.as_ref() != Some(&ledger);
                let name = format!("Persist({:?})", ledger.phase);
                self.written = Some(ledger);
                new.then_some(name)
            }
            other => {
                let text = format!("{other:?}");
                Some(text.split([' ', '(', '{']).next().unwrap_or_default().to_owned())
            }
        }
    }

    pub(super) fn before(&mut self, effects: &[Effect]) {
        let Some(at) = self.before else { return };
        let remembered = self.written.clone();
        let name = effects.iter().find_map(|effect| self.name(effect));
        self.written = remembered;
        if let Some(name) = name {
            self.steps += 1;
            if self.steps == at {
                die(&format!("before {name}"));
            }
        }
    }

    pub(super) fn after(&mut self, name: Option<String>) {
        let (Some(at), Some(name)) = (self.after, name) else { return };
        self.effects += 1;
        if self.effects == at {
            die(&format!("after {name}"));
        }
    }
}

fn die(at: &str) {
    tracing::warn!("a test ends this agent {at}");
    // Nothing of this process runs after it: no destructor, no flush.
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
}
