//! A home for tests of plans.
use crate::config::Settings;
use crate::home::Home;

/// A home in a folder of its own, which is removed with it.
pub(super) struct Scratch {
    _folder: tempfile::TempDir,
    pub home: Home,
    pub settings: Settings,
}

impl Scratch {
    /// With the folders that every home has: the supervisor's (`cosmovisor` or `wemixvisor`) and the node's data.
    pub fn new(root: &str) -> Scratch {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(root)).unwrap();
        let settings = Settings::of(folder.path().to_owned(), "geth".into());
        std::fs::create_dir_all(&settings.node.data_dir).unwrap();
        Scratch { home: settings.layout(), settings, _folder: folder }
    }

    /// One of ours, with the folder of batch plans.
    pub fn with_plans() -> Scratch {
        let host = Scratch::new("wemixvisor");
        std::fs::create_dir(host.home.plans()).unwrap();
        host
    }

    /// Writes the plan file.
    pub fn plan(&self, text: &str) {
        std::fs::write(&self.settings.upgrade.plan_file, text).unwrap();
    }
}
