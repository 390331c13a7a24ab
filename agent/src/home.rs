//! Where things are in a home. Understands cosmovisor's layout as it is.
use common::id::ReleaseName;
use common::release::Digest;
use std::path::{Path, PathBuf};

/// Name of the release a host starts with.
pub const GENESIS: &str = "genesis";

/// File name of an upgrade plan, pending or applied.
pub const PLAN_FILE: &str = "upgrade-info.json";

/// One supervised home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// `DAEMON_HOME`: the node's own folder.
    pub base: PathBuf,
    /// `DAEMON_NAME`: file name of the chain client.
    pub daemon: String,
    root: PathBuf,
}

impl Home {
    /// The home at `base`. Its folder is `wemixvisor`, or `cosmovisor` where only that exists.
    pub fn new(base: PathBuf, daemon: String) -> Home {
        let ours = base.join("wemixvisor");
        let theirs = base.join("cosmovisor");
        let root = if !ours.is_dir() && theirs.is_dir() { theirs } else { ours };
        Home { base, daemon, root }
    }

    /// The home at `base` with a supervisor's folder of this name, whatever is there. For making one.
    pub fn in_folder(base: PathBuf, daemon: String, folder: &str) -> Home {
        let root = base.join(folder);
        Home { base, daemon, root }
    }

    /// The supervisor's folder in the home.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The link to the release that is run.
    pub fn current(&self) -> PathBuf {
        self.root.join("current")
    }

    /// The release that `current` points to, by the end of the link; it can be relative or absolute, and
    /// the folder need not be there. `None` when there is no link, or it ends in no release's folder.
    pub fn current_target(&self) -> Option<ReleaseName> {
        let link = std::fs::read_link(self.current()).ok()?;
        let name = ReleaseName::new(link.file_name()?.to_str()?).ok()?;
        // A release of that name below `upgrades` is not the one that a host starts with.
        let other = name.as_str() == GENESIS && link.ends_with("upgrades/genesis");
        (link.ends_with(self.release_folder(&name)) && !other).then_some(name)
    }

    /// Folder of a release, relative to [`Home::root`].
    pub fn release_folder(&self, release: &ReleaseName) -> PathBuf {
        match release.as_str() {
            GENESIS => PathBuf::from(GENESIS),
            name => Path::new("upgrades").join(name),
        }
    }

    /// Executable of a release.
    pub fn binary(&self, release: &ReleaseName) -> PathBuf {
        self.root.join(self.release_folder(release)).join("bin").join(&self.daemon)
    }

    /// Where a release's manifest is kept.
    pub fn manifest(&self, release: &ReleaseName) -> PathBuf {
        self.root.join(self.release_folder(release)).join("manifest.json")
    }

    /// Folder of the releases after the first.
    pub fn upgrades(&self) -> PathBuf {
        self.root.join("upgrades")
    }

    /// The plan by which a release came to run, as other supervisors write it down too.
    pub fn applied_plan(&self, release: &ReleaseName) -> PathBuf {
        self.root.join(self.release_folder(release)).join(PLAN_FILE)
    }

    /// Upgrades that were scheduled on this host by its operator.
    pub fn schedule(&self) -> PathBuf {
        self.root.join("schedule.json")
    }

    /// Batch plans as wemixvisor v0.x wrote them, one a file.
    pub fn plans(&self) -> PathBuf {
        self.root.join("plans")
    }

    /// Held while batch and schedule are rewritten.
    pub fn plans_lock(&self) -> PathBuf {
        self.root.join("plans.lock")
    }

    /// Verified artifacts by digest.
    pub fn store(&self) -> PathBuf {
        self.root.join("store")
    }

    /// One verified artifact.
    pub fn artifact(&self, digest: &Digest) -> PathBuf {
        self.store().join(digest.to_string())
    }

    /// Where downloads grow; emptied at every start.
    pub fn staging(&self) -> PathBuf {
        self.store().join("staging")
    }

    /// The machine's memory.
    pub fn ledger(&self) -> PathBuf {
        self.root.join("ledger.json")
    }

    /// Which process is the node.
    pub fn process(&self) -> PathBuf {
        self.root.join("process.json")
    }

    /// Held by the agent.
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Held by the node for as long as it lives.
    pub fn node_lock(&self) -> PathBuf {
        self.root.join("node.lock")
    }

    /// The node's output.
    pub fn node_log(&self) -> PathBuf {
        self.root.join("node.log")
    }

    /// What the node's chain is, as it last said.
    pub fn chain(&self) -> PathBuf {
        self.root.join("chain.json")
    }

    /// The agent's settings.
    pub fn config(&self) -> PathBuf {
        self.root.join("wemixvisor.toml")
    }

    /// Socket of the running agent, relative to [`Home::root`] because such paths are short.
    pub fn control_name() -> &'static str {
        "control.sock"
    }

    /// The same socket by its whole path, for people.
    pub fn control(&self) -> PathBuf {
        self.root.join(Home::control_name())
    }

    /// Key, certificate and CA of the fleet.
    pub fn fleet(&self) -> PathBuf {
        self.root.join("fleet")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn current_is_read_from_relative_and_absolute_links() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("cosmovisor")).unwrap();
        let home = Home::new(folder.path().to_owned(), "geth".into());
        assert_eq!(home.current_target(), None, "there is no link");
        let absolute = home.root().join("upgrades/my%20up");
        let table = [
            (Path::new("genesis"), Some("genesis")),
            (Path::new("./genesis"), Some("genesis")),
            (Path::new("upgrades/v2"), Some("v2")),
            (Path::new("upgrades/Chain2/"), Some("Chain2")),
            (absolute.as_path(), Some("my%20up")),
            (Path::new("/gone/cosmovisor/upgrades/v3"), Some("v3")),
            (Path::new("/opt/v2"), None),
            (Path::new("upgrades/genesis"), None),
            (Path::new("upgrades/.."), None),
            (Path::new("."), None),
        ];
        for (link, name) in table {
            let _ = std::fs::remove_file(home.current());
            std::os::unix::fs::symlink(link, home.current()).unwrap();
            let found = home.current_target();
            assert_eq!(found.as_ref().map(ReleaseName::as_str), name, "{}", link.display());
        }
    }

    #[test]
    fn plans_are_where_other_supervisors_have_them() {
        let home = Home::new("/h".into(), "geth".into());
        let v2 = ReleaseName::new("v2").unwrap();
        assert_eq!(home.applied_plan(&v2), Path::new("/h/wemixvisor/upgrades/v2/upgrade-info.json"));
        assert_eq!(home.plans(), Path::new("/h/wemixvisor/plans"));
    }
}
