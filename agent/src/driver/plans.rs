//! What this host's own plans ask for.
use super::Driver;
use common::machine::Event;
use common::release::InstalledRelease;

impl Driver {
    /// Looks at the plan files, and tells the machine when another plan is next.
    pub(super) fn poll_plans(&mut self) {}

    /// Backs up and runs the hooks, with the node down.
    pub(super) fn prepare(&mut self, _release: InstalledRelease) {
        self.queue.push_back(Event::Prepared(Ok(())));
    }

    /// Reads the settings again.
    pub(super) fn reload(&mut self) -> Result<String, (String, String)> {
        Err(("not built yet".to_owned(), String::new()))
    }
}
