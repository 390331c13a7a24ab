//! Clock, disk, files and ports.
use super::{Findings, Patient};
use crate::clock;
use crate::config::BackupBefore;
use crate::home::Home;
use crate::host::{disk, files};
use crate::sync::files::FleetFiles;
use common::time::UnixMs;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Clocks before the first release of this program, or long after it, are wrong.
const PLAUSIBLE: std::ops::Range<u64> = 1_735_689_600_000..4_102_444_800_000;
/// A flush that takes longer makes every step of an upgrade slow.
const SLOW_FLUSH: Duration = Duration::from_millis(500);
/// What is written for a try, in bytes.
const TRY: usize = 4096;

pub(super) fn look(patient: &Patient<'_>, findings: &mut Findings) {
    clock_is_plausible(clock::now(), findings);
    space(patient, findings);
    flush(patient, findings);
    backup(patient, findings);
    keys(patient, findings);
    leftovers(patient, findings);
    metrics_port(patient, findings);
}

fn clock_is_plausible(now: UnixMs, findings: &mut Findings) {
    if PLAUSIBLE.contains(&now.0) {
        findings.ok("clock", "plausible");
    } else {
        let detail = format!("it says {} s since 1970", now.0 / 1000);
        findings.fail("clock", detail, "set it, and let chrony or systemd-timesyncd keep it");
    }
}

fn space(patient: &Patient<'_>, findings: &mut Findings) {
    let (base, least) = (&patient.settings.node.home, patient.settings.health.min_disk_bytes);
    match disk::free_bytes(base) {
        None => findings.fail("disk", "its free space is unknown", format!("does {} exist?", base.display())),
        Some(free) if free < least => {
            let detail = format!("{} MiB free, {} wanted", free >> 20, least >> 20);
            findings.fail(
                "disk",
                detail,
                "make room, `backup prune` removes old backups; or lower [health] min_disk_bytes",
            );
        }
        Some(free) => findings.ok("disk", format!("{} MiB free", free >> 20)),
    }
}

fn flush(patient: &Patient<'_>, findings: &mut Findings) {
    let root = patient.home.root();
    let from = Instant::now();
    let tried = scratch(root, "doctor").and_then(|(file, path)| {
        let _removed = files::Temporary::new(path);
        file.sync_all()?;
        files::sync_folder(root)
    });
    let took = from.elapsed();
    let detail = format!("a flush takes {} ms", took.as_millis());
    match tried {
        Err(e) => findings.fail(
            "home",
            format!("{} cannot be written: {e}", root.display()),
            "the agent must own the folder, on a file system that is not read-only; `wemixvisor init` makes it",
        ),
        Ok(()) if took > SLOW_FLUSH => findings.warn("home", detail, "a slow disk makes each step of an upgrade slow"),
        Ok(()) => findings.ok("home", detail),
    }
}

/// A new file with something in it.
fn scratch(folder: &Path, name: &str) -> io::Result<(std::fs::File, PathBuf)> {
    let path = folder.join(format!(".{name}.{}", std::process::id()));
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    match file.write_all(&[0; TRY]) {
        Ok(()) => Ok((file, path)),
        Err(e) => {
            let _ = std::fs::remove_file(&path);
            Err(e)
        }
    }
}

fn backup(patient: &Patient<'_>, findings: &mut Findings) {
    let settings = &patient.settings.backup;
    if settings.before_upgrade == BackupBefore::Never {
        return findings.ok("backup", "none is made before an upgrade");
    }
    // It is made with the first backup; until then its parent must be writable.
    let folder = settings.dir.ancestors().find(|f| f.is_dir()).unwrap_or(Path::new("/"));
    let (target, to) = match scratch(folder, "doctor-to") {
        Ok(made) => made,
        Err(e) => {
            let detail = format!("{} cannot be written: {e}", settings.dir.display());
            return findings.fail("backup", detail, "no upgrade begins without its backup: see [backup] dir");
        }
    };
    let _removed = files::Temporary::new(to);
    let shared = match scratch(&patient.settings.node.data_dir, "doctor-from") {
        Ok((source, from)) => {
            let _removed = files::Temporary::new(from);
            rustix::fs::ioctl_ficlone(&target, &source).is_ok()
        }
        Err(_) => false,
    };
    match (shared, settings.before_upgrade) {
        (true, _) => findings.ok("backup", "blocks are shared: a backup costs next to nothing"),
        (false, BackupBefore::Reflink) => findings.warn(
            "backup",
            "blocks cannot be shared, so none is made before an upgrade",
            "data and backups on one XFS or btrfs, or [backup] before_upgrade = \"always\"",
        ),
        (false, _) => findings.ok("backup", "whole copies: the node is down while one is made"),
    }
}

fn keys(patient: &Patient<'_>, findings: &mut Findings) {
    let fleet = FleetFiles::new(patient.home.fleet()).key();
    let secret = patient.settings.webhook.as_ref().and_then(|w| w.secret_file.clone());
    for (path, must) in [(Some(fleet), false), (secret, true)] {
        let Some(path) = path else { continue };
        match path.metadata() {
            Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => findings.fail(
                "keys",
                format!("{} can be read by others", path.display()),
                format!("chmod 600 {}", path.display()),
            ),
            Ok(_) => findings.ok("keys", format!("{} is private", path.display())),
            Err(e) if must || e.kind() != io::ErrorKind::NotFound => {
                findings.fail("keys", format!("{}: {e}", path.display()), "see [webhook] secret_file");
            }
            Err(_) => {}
        }
    }
}

fn leftovers(patient: &Patient<'_>, findings: &mut Findings) {
    if let Some(pid) = patient.agent {
        return findings.ok("agent", format!("runs as {pid}"));
    }
    findings.warn("agent", "does not run", "`wemixvisor start`, or the unit of this host");
    let socket = patient.home.root().join(Home::control_name());
    if socket.symlink_metadata().is_ok() {
        let detail = format!("{} is left of an agent that ended hard", socket.display());
        findings.warn("leftovers", detail, "nothing is to be done: the next agent replaces it");
    }
}

fn metrics_port(patient: &Patient<'_>, findings: &mut Findings) {
    let Some(address) = patient.settings.agent.metrics.filter(|_| patient.agent.is_none()) else { return };
    match TcpListener::bind(address) {
        Ok(_) => findings.ok("metrics", format!("{address} is free")),
        Err(e) => {
            let detail = format!("{address}: {e}");
            findings.fail("metrics", detail, "another program has it (`ss -ltnp`); change [agent] metrics");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn clocks_that_cannot_be_right_fail() {
        for (now, wanted) in
            [(0, State::Fail), (1_800_000_000_000, State::Ok), (9_000_000_000_000, State::Fail)]
        {
            let mut findings = Findings::default();
            clock_is_plausible(UnixMs(now), &mut findings);
            assert_eq!(findings.0[0].state, wanted, "{now}");
        }
    }
}
