//! Programs run between the stop of the old release and the switch to the new one.
//!
//! In this order: the operator's own script, the script that came with the upgrade, and the `pre-upgrade` command
//! of the new executable. The first that fails ends the upgrade while `current` is still as before.
mod group;

use crate::clock;
use crate::config::HookSettings;
use crate::home::Home;
use crate::host::files;
use common::id::ReleaseName;
use common::release::Digest;
use common::time::Span;
use common::wire::v1::{Fault, FaultCode};
use group::{Outcome, Program};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// File name of the script that comes with an upgrade.
const OF_UPGRADE: &str = "pre-upgrade";
/// How much of a program's output goes into a fault, in characters.
const TOLD: usize = 256;
/// How long the processes of a program may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });
/// Longest pause before a command that asked for it is run again, in seconds.
const LONGEST_PAUSE: u64 = 30;

/// The upgrade that programs are told of.
#[derive(Debug, Clone)]
pub struct Upgrading<'a> {
    /// Its name as its plan writes it; programs get this one.
    pub title: &'a str,
    /// Its folder's name.
    pub name: ReleaseName,
    /// What the digest of its executable must be.
    pub digest: Digest,
    /// Its height; programs get `0` where there is none, as from the supervisors before this one.
    pub height: Option<u64>,
    /// What its plan says besides; empty is nothing.
    pub info: &'a str,
}

/// Why a switch must not be.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// The name leads out of the supervisor's folder.
    #[error("[hooks] pre_upgrade = {0:?} leads out of the supervisor's folder; name a file in it")]
    Escapes(String),
    /// The file is not there, or is none.
    #[error("the hook {path} cannot be used: {why}; put it there, or change [hooks]")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The executable is not the one that was staged.
    #[error("{path} has digest {found}, {expected} was staged; it was not run")]
    Digest {
        /// The executable.
        path: PathBuf,
        /// What it has.
        found: Digest,
        /// What it should have.
        expected: Digest,
    },
    /// The program did not run.
    #[error("{what} cannot be run: {source}")]
    Spawn {
        /// The program.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// Another process of a hook does not go away.
    #[error("a process of an earlier hook does not end: {0} is locked; end it by hand, then try again")]
    Busy(PathBuf),
    /// The program said no.
    #[error("{what} {how}; its output ends: {output}")]
    Refused {
        /// The program.
        what: String,
        /// How it ended.
        how: String,
        /// The end of its output, escaped.
        output: String,
    },
}

impl From<HookError> for Fault {
    fn from(error: HookError) -> Fault {
        let code = match &error {
            HookError::Digest { .. } => FaultCode::DigestMismatch,
            _ => FaultCode::HookFailed,
        };
        clock::fault(code, error)
    }
}

/// Files that must be there for an upgrade, for the checks before the node is stopped. The script of the
/// upgrade is among them only where it exists.
pub fn files(home: &Home, settings: &HookSettings, name: &ReleaseName) -> Vec<PathBuf> {
    let own = settings.pre_upgrade.as_ref().map(|script| home.root().join(script));
    let with_it = Some(of_upgrade(home, name)).filter(|path| path.symlink_metadata().is_ok());
    let binary = settings.node_command.then(|| home.binary(name));
    own.into_iter().chain(with_it).chain(binary).collect()
}

/// Checks, with the node still running, that everything is there that [`run`] will need.
///
/// # Errors
/// [`FaultCode::HookFailed`] names the file and what is wrong with it.
pub fn check(home: &Home, settings: &HookSettings, name: &ReleaseName) -> Result<(), Fault> {
    if let Some(script) = &settings.pre_upgrade {
        own_script(home, script)?;
    }
    for path in files(home, settings, name) {
        regular(&path)?;
    }
    Ok(())
}

/// Runs everything there is to run for an upgrade. `log` gets a line for each program that ran.
///
/// # Errors
/// [`FaultCode::HookFailed`] for the first that fails, and [`FaultCode::DigestMismatch`] for an executable that
/// is not the one staged. Nothing that a program started is left then, nor otherwise.
pub async fn run(
    home: &Home,
    settings: &HookSettings,
    upgrade: &Upgrading<'_>,
    log: &(dyn Fn(&str) + Sync),
) -> Result<(), Fault> {
    if let Some(script) = &settings.pre_upgrade {
        let path = own_script(home, script)?;
        let height = upgrade.height.unwrap_or(0).to_string();
        let program = Program {
            what: format!("the hook {}", path.display()),
            args: vec![upgrade.title.to_owned(), height],
            path,
            env: environment(home, upgrade),
        };
        succeed(&program, home, settings, log).await?;
    }
    let path = of_upgrade(home, &upgrade.name);
    if path.symlink_metadata().is_ok() {
        executable(&path)?;
        let what = format!("the upgrade's hook {}", path.display());
        let program = Program { what, path, args: Vec::new(), env: environment(home, upgrade) };
        succeed(&program, home, settings, log).await?;
    }
    if settings.node_command {
        node_command(home, settings, upgrade, log).await?;
    }
    Ok(())
}

/// A script, whose every code but 0 is a failure.
async fn succeed(
    program: &Program,
    home: &Home,
    settings: &HookSettings,
    log: &(dyn Fn(&str) + Sync),
) -> Result<(), HookError> {
    let outcome = group::run(program, home, settings.timeout).await?;
    log(&outcome.line(&program.what));
    if outcome.code() == Some(0) { Ok(()) } else { Err(refused(program, &outcome, "")) }
}

/// `<new executable> pre-upgrade`: 0 goes on, 1 is a client that does not know the command, 30 fails, 31 asks to be
/// run again. Any other code is a failure: what is unknown is not taken for consent.
async fn node_command(
    home: &Home,
    settings: &HookSettings,
    upgrade: &Upgrading<'_>,
    log: &(dyn Fn(&str) + Sync),
) -> Result<(), HookError> {
    let path = home.binary(&upgrade.name);
    let program = Program {
        what: format!("`{} pre-upgrade`", path.display()),
        args: vec![OF_UPGRADE.to_owned()],
        path,
        env: environment(home, upgrade),
    };
    for attempt in 0..=u64::from(settings.retries) {
        verify(&program.path, upgrade.digest).await?;
        let outcome = group::run(&program, home, settings.timeout).await?;
        log(&outcome.line(&program.what));
        match outcome.code() {
            Some(0 | 1) => return Ok(()),
            Some(31) if attempt < u64::from(settings.retries) => {
                let pause = Span::secs((attempt + 1).min(LONGEST_PAUSE));
                log(&format!("{} is run again in {pause}", program.what));
                tokio::time::sleep(pause.to_std()).await;
            }
            Some(31) => {
                let tries = format!("; it was run {} time(s), see [hooks] retries", attempt + 1);
                return Err(refused(&program, &outcome, &tries));
            }
            _ => return Err(refused(&program, &outcome, "")),
        }
    }
    Ok(())
}

async fn verify(path: &Path, expected: Digest) -> Result<(), HookError> {
    let hashed = path.to_owned();
    let found = tokio::task::spawn_blocking(move || files::digest_of(&hashed)).await;
    let found = found.map_err(io::Error::other).and_then(|r| r);
    let found = found.map_err(|e| HookError::Unusable { path: path.to_owned(), why: e.to_string() })?;
    if found == expected {
        return Ok(());
    }
    Err(HookError::Digest { path: path.to_owned(), found, expected })
}

fn refused(program: &Program, outcome: &Outcome, more: &str) -> HookError {
    let tail = outcome.escaped();
    let skipped = tail.chars().count().saturating_sub(TOLD);
    HookError::Refused {
        what: program.what.clone(),
        how: format!("{}{more}", outcome.how()),
        output: tail.chars().skip(skipped).collect(),
    }
}

fn environment(home: &Home, upgrade: &Upgrading<'_>) -> Vec<(&'static str, Option<String>)> {
    let height = upgrade.height.unwrap_or(0).to_string();
    let info = Some(upgrade.info.to_owned()).filter(|info| !info.is_empty());
    vec![
        ("DAEMON_HOME", Some(home.base.display().to_string())),
        ("DAEMON_NAME", Some(home.daemon.clone())),
        ("UPGRADE_NAME", Some(upgrade.title.to_owned())),
        ("UPGRADE_HEIGHT", Some(height)),
        // One that was inherited belongs to something else.
        ("UPGRADE_INFO", info),
    ]
}

fn of_upgrade(home: &Home, name: &ReleaseName) -> PathBuf {
    home.root().join(home.release_folder(name)).join(OF_UPGRADE)
}

/// The operator's script, which must be in the supervisor's folder, also behind links.
fn own_script(home: &Home, script: &str) -> Result<PathBuf, HookError> {
    let escapes = || HookError::Escapes(script.to_owned());
    let plain = Path::new(script).components().all(|part| matches!(part, Component::Normal(_)));
    if script.is_empty() || !plain {
        return Err(escapes());
    }
    let path = home.root().join(script);
    let unusable = |e: io::Error| HookError::Unusable { path: path.clone(), why: e.to_string() };
    let root = home.root().canonicalize().map_err(unusable)?;
    if !path.canonicalize().map_err(unusable)?.starts_with(root) {
        return Err(escapes());
    }
    executable(&path)?;
    Ok(path)
}

fn regular(path: &Path) -> Result<std::fs::Metadata, HookError> {
    let unusable = |why: String| HookError::Unusable { path: path.to_owned(), why };
    let metadata = path.metadata().map_err(|e| unusable(e.to_string()))?;
    if metadata.is_file() { Ok(metadata) } else { Err(unusable("it is no regular file".to_owned())) }
}

/// Makes a script executable for its owner where it is not.
fn executable(path: &Path) -> Result<(), HookError> {
    let mode = regular(path)?.permissions().mode();
    if mode & 0o100 != 0 {
        return Ok(());
    }
    let may = std::fs::Permissions::from_mode((mode & 0o7777) | 0o100);
    std::fs::set_permissions(path, may).map_err(|e| HookError::Unusable {
        path: path.to_owned(),
        why: format!("it is not executable and cannot be made so: {e}"),
    })
}

#[cfg(test)]
mod tests;
