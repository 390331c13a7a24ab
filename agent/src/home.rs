//! Where things are in a home. Understands cosmovisor's layout as it is.
use common::id::ReleaseName;
use common::release::Digest;
use std::path::{Path, PathBuf};

/// Name of the release a host starts with.
pub const GENESIS: &str = "genesis";

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

    /// The supervisor's folder in the home.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The link to the release that is run.
    pub fn current(&self) -> PathBuf {
        self.root.join("current")
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

    /// Key, certificate and CA of the fleet.
    pub fn fleet(&self) -> PathBuf {
        self.root.join("fleet")
    }
}
