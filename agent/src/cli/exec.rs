//! `wemixvisor exec`: the chain client's own commands, by the release that `current` names.
use super::Place;
use crate::home::{GENESIS, Home};
use crate::host::{files, lock};
use crate::ledger;
use anyhow::{Context, bail, ensure};
use common::id::ReleaseName;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// Commands that open the chain's database for writing or start a node of their own.
const NEEDS_NODE_DOWN: [&str; 8] =
    ["console", "js", "import", "import-history", "init", "removedb", "prune-history", "snapshot"];

/// Becomes the chain client with these arguments; returns only when that fails.
pub fn run(place: &Place, args: &[OsString]) -> anyhow::Result<ExitCode> {
    let settings = place.settings()?;
    let home = settings.layout();
    let binary = current_binary(&home)?;
    if let Some(stored) = ledger::read(&home.ledger())? {
        let found = files::digest_of(&binary).with_context(|| format!("reading {}", binary.display()))?;
        ensure!(
            found == stored.current.digest,
            "{} has digest {found}, {} with {} is what this host runs; nothing is executed\nhint: wemixvisor doctor",
            binary.display(),
            stored.current.name,
            stored.current.digest
        );
    }
    let command = args.first().map(|a| a.to_string_lossy().into_owned()).unwrap_or_default();
    if NEEDS_NODE_DOWN.contains(&command.as_str()) && lock::node_is_there(&home.node_lock())? {
        bail!("`{command}` opens the node's data, and the node runs\nhint: wemixvisor stop");
    }
    let error = Command::new(&binary).args(args).exec();
    Err(error).with_context(|| format!("executing {}", binary.display()))
}

/// The executable that `current` names, `genesis` where there is no link yet.
pub fn current_binary(home: &Home) -> anyhow::Result<PathBuf> {
    let linked = home.current().join("bin").join(&home.daemon);
    if home.current().symlink_metadata().is_ok() {
        return linked.canonicalize().with_context(|| {
            format!("{} leads to no executable\nhint: wemixvisor doctor", home.current().display())
        });
    }
    let first = home.binary(&ReleaseName::new(GENESIS)?);
    ensure!(first.is_file(), "there is no executable {}\nhint: wemixvisor init PATH", first.display());
    Ok(first)
}
