//! Everything that can be checked while the old release still runs.
use super::{disk, files};
use crate::clock;
use crate::home::Home;
use common::manifest::Manifest;
use common::release::{Digest, InstalledRelease};
use common::wire::v1::{Fault, FaultCode};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// How long `<binary> version` may take.
const VERSION_WITHIN: Duration = Duration::from_secs(10);
/// How much of its output is read.
const VERSION_BYTES: u64 = 64 * 1024;
/// A node without this much space is not restarted on purpose.
const FREE_BYTES: u64 = 16 << 20;

/// Checks a staged release.
///
/// # Errors
/// [`FaultCode::DigestMismatch`], [`FaultCode::BinaryUnusable`], [`FaultCode::ManifestMismatch`] or
/// [`FaultCode::DiskFull`].
pub async fn check(home: &Home, release: &InstalledRelease, manifest: Digest) -> Result<(), Fault> {
    let path = home.binary(&release.name);
    let unreadable =
        |e: std::io::Error| clock::fault(FaultCode::BinaryUnusable, format!("{}: {e}", path.display()));
    let hashed = path.clone();
    let found = tokio::task::spawn_blocking(move || files::digest_of(&hashed)).await;
    let found = found.map_err(std::io::Error::other).and_then(|r| r).map_err(unreadable)?;
    if found != release.digest {
        let detail = format!("{} has digest {found}, {} was staged", path.display(), release.digest);
        return Err(clock::fault(FaultCode::DigestMismatch, detail));
    }
    if let Some(free) = disk::free_bytes(home.root()).filter(|free| *free < FREE_BYTES) {
        return Err(clock::fault(FaultCode::DiskFull, format!("{free} bytes are free")));
    }
    let wanted = wanted_version(home, release, manifest)?;
    let said = version(&path).await?;
    match wanted {
        Some(wanted) if !said.contains(&wanted) => {
            let said: String = said.chars().take(200).collect();
            let detail = format!("`version` does not say {wanted:?} but {said:?}");
            Err(clock::fault(FaultCode::BinaryUnusable, detail))
        }
        _ => Ok(()),
    }
}

fn wanted_version(home: &Home, release: &InstalledRelease, digest: Digest) -> Result<Option<String>, Fault> {
    let path = home.manifest(&release.name);
    let refused =
        |why: String| clock::fault(FaultCode::ManifestMismatch, format!("{}: {why}", path.display()));
    let bytes = std::fs::read(&path).map_err(|e| refused(e.to_string()))?;
    if Digest::of(&bytes) != digest {
        return Err(refused("it changed after it was staged".to_owned()));
    }
    Ok(Manifest::read(&bytes).map_err(|e| refused(e.to_string()))?.version)
}

async fn version(path: &Path) -> Result<String, Fault> {
    let unusable =
        |why: String| clock::fault(FaultCode::BinaryUnusable, format!("`{} version` {why}", path.display()));
    let mut command = Command::new(path);
    command.arg("version").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| unusable(format!("does not run: {e}")))?;
    let output = child.stdout.take();
    let run = async {
        let mut said = Vec::new();
        if let Some(output) = output {
            output.take(VERSION_BYTES).read_to_end(&mut said).await?;
        }
        Ok::<_, std::io::Error>((child.wait().await?, said))
    };
    match tokio::time::timeout(VERSION_WITHIN, run).await {
        Ok(Ok((status, said))) if status.success() => Ok(String::from_utf8_lossy(&said).into_owned()),
        Ok(Ok((status, _))) => Err(unusable(format!("ended with {status}"))),
        Ok(Err(e)) => Err(unusable(format!("failed: {e}"))),
        Err(_) => Err(unusable(format!("did not end within {} s", VERSION_WITHIN.as_secs()))),
    }
}
