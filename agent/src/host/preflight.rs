//! Everything that can be checked while the old release still runs.
use super::{disk, fetch::executable, files};
use crate::clock;
use crate::home::Home;
use common::manifest::Manifest;
use common::release::{Digest, InstalledRelease};
use common::wire::v1::{Fault, FaultCode};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
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

/// Checks a staged release: its executable, what its manifest says of it when there is one, the hooks
/// that are run around the switch, and the disk, where `extra_bytes` are needed for a backup.
/// Executable bits that are missing are set, as the incumbents do.
///
/// # Errors
/// [`FaultCode::DigestMismatch`], [`FaultCode::BinaryUnusable`], [`FaultCode::ManifestMismatch`] or
/// [`FaultCode::DiskFull`].
pub async fn check(
    home: &Home,
    release: &InstalledRelease,
    manifest: Option<Digest>,
    extra_bytes: u64,
    hooks: &[PathBuf],
) -> Result<(), Fault> {
    let path = home.binary(&release.name);
    let (binary, digest) = (path.clone(), release.digest);
    let looked = tokio::task::spawn_blocking(move || look(&binary, &digest)).await;
    looked.unwrap_or_else(|e| Err(unusable(&path, e)))?;
    for hook in hooks {
        runnable(hook).map_err(|e| unusable(hook, format!("the hook cannot be run: {e}")))?;
    }
    let need = FREE_BYTES.saturating_add(extra_bytes);
    if let Some(free) = disk::free_bytes(home.root()).filter(|free| *free < need) {
        let detail = format!("{free} bytes are free, {need} are needed ({extra_bytes} for the backup)");
        return Err(clock::fault(FaultCode::DiskFull, detail));
    }
    let Some(manifest) = manifest else { return Ok(()) };
    let Some(wanted) = wanted_version(home, release, manifest)? else { return Ok(()) };
    let said = version(&path).await?;
    if said.contains(&wanted) {
        return Ok(());
    }
    let said: String = said.chars().take(200).collect();
    let detail = format!("`version` does not say {wanted:?} but {said:?}");
    Err(clock::fault(FaultCode::BinaryUnusable, detail))
}

fn unusable(path: &Path, why: impl std::fmt::Display) -> Fault {
    clock::fault(FaultCode::BinaryUnusable, format!("{}: {why}", path.display()))
}

/// The executable: the bytes that were staged, made for this host.
fn look(path: &Path, digest: &Digest) -> Result<(), Fault> {
    runnable(path).map_err(|e| unusable(path, e))?;
    let found = files::digest_of(path).map_err(|e| unusable(path, e))?;
    if found != *digest {
        let detail = format!("{} has digest {found}, {digest} was staged", path.display());
        return Err(clock::fault(FaultCode::DigestMismatch, detail));
    }
    executable::check(path).map_err(|e| unusable(path, e))
}

/// A plain file, not empty, that may be executed.
fn runnable(path: &Path) -> std::io::Result<()> {
    let wrong = std::io::Error::other;
    let meta = std::fs::metadata(path)?;
    if !meta.is_file() {
        return Err(wrong("it is no plain file"));
    }
    if meta.len() == 0 {
        return Err(wrong("it is empty"));
    }
    let mode = meta.permissions().mode();
    if mode & 0o111 != 0o111 {
        let set = std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode | 0o111));
        // A file of somebody else's that can be executed all the same is fine.
        let usable = rustix::fs::access(path, rustix::fs::Access::EXEC_OK);
        set.or_else(|e| usable.map_err(|_| e))?;
    }
    Ok(())
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
    let failed =
        |why: String| clock::fault(FaultCode::BinaryUnusable, format!("`{} version` {why}", path.display()));
    let mut command = Command::new(path);
    command.arg("version").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| failed(format!("does not run: {e}")))?;
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
        Ok(Ok((status, _))) => Err(failed(format!("ended with {status}"))),
        Ok(Err(e)) => Err(failed(format!("failed: {e}"))),
        Err(_) => Err(failed(format!("did not end within {} s", VERSION_WITHIN.as_secs()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::id::ReleaseName;

    struct Case {
        _folder: tempfile::TempDir,
        home: Home,
        release: InstalledRelease,
    }

    impl Case {
        fn new(bytes: &[u8]) -> Case {
            let folder = tempfile::tempdir().unwrap();
            let home = Home::new(folder.path().to_owned(), "geth".into());
            let name = ReleaseName::new("v2").unwrap();
            std::fs::create_dir_all(home.binary(&name).parent().unwrap()).unwrap();
            std::fs::write(home.binary(&name), bytes).unwrap();
            let release = InstalledRelease { name, sequence: 0, digest: Digest::of(bytes) };
            Case { _folder: folder, home, release }
        }

        async fn check(&self, extra: u64, hooks: &[PathBuf]) -> Result<(), (FaultCode, String)> {
            let checked = check(&self.home, &self.release, None, extra, hooks).await;
            checked.map_err(|f| (f.code, f.detail))
        }
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn without_a_manifest() {
        // It is not run: it would fail.
        let case = Case::new(b"#!/bin/false\n");
        let path = case.home.binary(&case.release.name);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let hook = case.home.root().join("hook");
        std::fs::write(&hook, "#!/bin/sh\n").unwrap();
        case.check(1, std::slice::from_ref(&hook)).await.unwrap();
        assert_eq!((mode(&path) & 0o111, mode(&hook) & 0o111), (0o111, 0o111));
    }

    #[tokio::test]
    async fn each_with_its_reason() {
        let refused = async |bytes: &[u8], extra: u64, hooks: &[PathBuf]| {
            Case::new(bytes).check(extra, hooks).await.unwrap_err()
        };
        let script = b"#!/bin/sh\n";
        let (code, detail) = refused(b"", 0, &[]).await;
        assert!(code == FaultCode::BinaryUnusable && detail.contains("empty"), "{detail}");
        let (code, detail) = refused(b"<html>", 0, &[]).await;
        assert!(code == FaultCode::BinaryUnusable && detail.contains("neither"), "{detail}");
        let (code, detail) = refused(script, u64::MAX / 2, &[]).await;
        assert!(code == FaultCode::DiskFull && detail.contains("for the backup"), "{detail}");
        for hook in ["/nowhere/hook", "/"] {
            let (code, detail) = refused(script, 0, &[hook.into()]).await;
            assert!(code == FaultCode::BinaryUnusable && detail.contains("hook"), "{detail}");
        }
        let mut case = Case::new(script);
        case.release.digest = Digest([1; 32]);
        let (code, _) = case.check(0, &[]).await.unwrap_err();
        assert_eq!(code, FaultCode::DigestMismatch);
        std::fs::remove_file(case.home.binary(&case.release.name)).unwrap();
        let (code, _) = case.check(0, &[]).await.unwrap_err();
        assert_eq!(code, FaultCode::BinaryUnusable);
        let manifest = Some(Digest([2; 32]));
        let case = Case::new(script);
        let fault = check(&case.home, &case.release, manifest, 0, &[]).await.unwrap_err();
        assert_eq!(fault.code, FaultCode::ManifestMismatch, "a manifest that is not there");
    }
}
