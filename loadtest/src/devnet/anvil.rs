//! The execution layer: one anvil that mines only when a devnode says so.
use super::error::{DevnetError, file};
use super::poll::wait_until;
use super::process::tied_to_us;
use super::rpc::Rpc;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

/// Where npm puts the program, from the project's root.
const IN_TREE: &str = "indexer/contracts/node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil";

/// Finds anvil: the path given, `ANVIL`, the project's `node_modules` (from the sources, or above the working folder
/// or this executable), `PATH`.
///
/// # Errors
/// It is nowhere, or the path given is no file.
pub fn find_anvil(given: Option<&Path>) -> Result<PathBuf, DevnetError> {
    let named = given.map(Path::to_owned).or_else(|| std::env::var_os("ANVIL").map(PathBuf::from));
    if let Some(path) = named {
        return if path.is_file() { Ok(path) } else { Err(DevnetError::NoAnvil) };
    }
    let mut places = Vec::new();
    if let Some(root) = Path::new(env!("CARGO_MANIFEST_DIR")).parent() {
        places.push(root.join(IN_TREE));
    }
    for start in [std::env::current_dir(), std::env::current_exe()].into_iter().flatten() {
        places.extend(start.ancestors().map(|a| a.join(IN_TREE)));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    places.extend(std::env::split_paths(&path).map(|p| p.join("anvil")));
    places.into_iter().find(|p| p.is_file()).ok_or(DevnetError::NoAnvil)
}

pub(super) struct AnvilPlan<'a> {
    pub anvil: &'a Path,
    pub node_binary: &'a Path,
    pub port: u16,
    pub chain_id: u64,
    pub log: &'a Path,
}

/// Starts anvil and waits until it answers.
pub(super) async fn start(plan: AnvilPlan<'_>) -> Result<(Child, String), DevnetError> {
    let url = format!("http://127.0.0.1:{}", plan.port);
    let log = std::fs::File::create(plan.log).map_err(file("create", plan.log))?;
    let mut argv: Vec<OsString> = vec![plan.anvil.into()];
    argv.extend(
        [
            "--no-mining",
            "--quiet",
            "--accounts",
            "10",
            "--code-size-limit",
            "100000",
            "--threads",
            "1",
            "--chain-id",
        ]
        .map(OsString::from),
    );
    argv.extend([plan.chain_id.to_string().into(), "--port".into(), plan.port.to_string().into()]);
    let mut child = tied_to_us(plan.node_binary, &argv, log)?;
    let rpc = Rpc::new(&url)?;
    let up = wait_until("anvil", Duration::from_secs(20), || {
        // A program that ended will never answer.
        let ended = child.try_wait().ok().flatten().is_some();
        let rpc = rpc.clone();
        async move { if ended { Some(false) } else { rpc.head().await.ok().map(|_| true) } }
    })
    .await;
    if up == Ok(true) {
        return Ok((child, url));
    }
    let _ = child.kill();
    let _ = child.wait();
    Err(DevnetError::AnvilSilent { url, log: plan.log.to_owned() })
}
