//! The data folder of a node: lock, key, genesis, marker of an unclean end.
use super::genesis::{Genesis, GenesisError};
use common::chain::Address;
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatadirError {
    /// Another process has it.
    #[error("datadir already used by another process: {0}")]
    InUse(PathBuf),
    /// A file in it.
    #[error("cannot {what} {path}")]
    File {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// `init` was never run.
    #[error("{0} has no genesis: run `devnode --datadir {0} init genesis.json` first")]
    Uninitialised(PathBuf),
    /// `init` with another genesis than before.
    #[error("database contains incompatible genesis: {0} was initialised with another one")]
    OtherGenesis(PathBuf),
    /// The key is damaged.
    #[error("{0} is no node key: 64 hexadecimal digits are expected")]
    Key(PathBuf),
    /// The genesis is damaged.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
}

/// A data folder, not locked.
#[derive(Debug, Clone)]
pub struct Datadir {
    instance: PathBuf,
}

/// The lock of a data folder; released when dropped or when the process ends.
#[derive(Debug)]
pub struct DatadirLock(#[expect(dead_code, reason = "held, not read")] File);

impl Datadir {
    /// The folder `path`; nothing is touched.
    pub fn new(path: &Path) -> Self {
        Self { instance: path.join("geth") }
    }

    /// A file of the node in this folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.instance.join(name)
    }

    /// Takes the lock.
    ///
    /// # Errors
    /// Another process holds it, or the folder cannot be written.
    pub fn lock(&self) -> Result<DatadirLock, DatadirError> {
        std::fs::create_dir_all(&self.instance).map_err(file("create", &self.instance))?;
        let path = self.file("LOCK");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(file("open", &path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(DatadirLock(lock)),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(DatadirError::InUse(self.instance.clone())),
            Err(errno) => Err(file("lock", &path)(errno.into())),
        }
    }

    /// Stores a genesis. The same one again is fine.
    ///
    /// # Errors
    /// Another genesis is stored, or the folder cannot be written.
    pub fn init(&self, genesis: &Genesis) -> Result<(), DatadirError> {
        let path = self.file("genesis.json");
        if path.exists() {
            let same = Genesis::read(&path)? == *genesis;
            return if same { Ok(()) } else { Err(DatadirError::OtherGenesis(self.instance.clone())) };
        }
        let chaindata = self.file("chaindata");
        std::fs::create_dir_all(&chaindata).map_err(file("create", &chaindata))?;
        let text = serde_json::to_vec_pretty(genesis).map_err(|e| file("write", &path)(e.into()))?;
        std::fs::write(&path, text).map_err(file("write", &path))
    }

    /// Reads the stored genesis.
    ///
    /// # Errors
    /// None is stored, or it is damaged.
    pub fn genesis(&self) -> Result<Genesis, DatadirError> {
        let path = self.file("genesis.json");
        if !path.exists() {
            let outer = self.instance.parent().unwrap_or(&self.instance);
            return Err(DatadirError::Uninitialised(outer.to_owned()));
        }
        Ok(Genesis::read(&path)?)
    }

    /// Reads the node key and derives its address; makes a key when there is none.
    ///
    /// # Errors
    /// The key is damaged or the folder cannot be written.
    pub fn address(&self) -> Result<Address, DatadirError> {
        let path = self.file("nodekey");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let text = hex::encode(rand::random::<[u8; 32]>());
                std::fs::create_dir_all(&self.instance).map_err(file("create", &self.instance))?;
                let mut key = File::options()
                    .create_new(true)
                    .write(true)
                    .mode(0o600)
                    .open(&path)
                    .map_err(file("create", &path))?;
                key.write_all(text.as_bytes()).map_err(file("write", &path))?;
                text
            }
            Err(source) => return Err(DatadirError::File { what: "read", path, source }),
        };
        let mut key = [0; 32];
        hex::decode_to_slice(text.trim(), &mut key).map_err(|_| DatadirError::Key(path))?;
        let mut address = [0; 20];
        address.copy_from_slice(&Sha256::digest(key)[..20]);
        Ok(Address(address))
    }

    /// Notes that the node runs; says whether the run before ended without [`Datadir::mark_stopped`].
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn mark_running(&self) -> Result<bool, DatadirError> {
        let path = self.file("UNCLEAN");
        let unclean = path.exists();
        std::fs::write(&path, std::process::id().to_string()).map_err(file("write", &path))?;
        Ok(unclean)
    }

    /// Whether a run is going on, or ended without being stopped.
    pub fn is_unclean(&self) -> bool {
        self.file("UNCLEAN").exists()
    }

    /// Notes that the node stopped in order.
    ///
    /// # Errors
    /// The marker cannot be removed.
    pub fn mark_stopped(&self) -> Result<(), DatadirError> {
        let path = self.file("UNCLEAN");
        std::fs::remove_file(&path).map_err(file("remove", &path))
    }
}

fn file(what: &'static str, path: &Path) -> impl Fn(io::Error) -> DatadirError {
    let path = path.to_owned();
    move |source| DatadirError::File { what, path: path.clone(), source }
}
