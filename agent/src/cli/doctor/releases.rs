//! What is installed: the release that runs, those that wait, and what an upgrade runs besides.
use super::{Findings, Patient};
use crate::host::{files, found, hooks};
use crate::ledger;
use common::id::ReleaseName;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

pub(super) fn look(patient: &Patient<'_>, findings: &mut Findings) {
    let home = &patient.home;
    let ledger = match ledger::read(&home.ledger()) {
        Ok(Some(ledger)) => Ok(ledger),
        Ok(None) => found::first_ledger(home).map_err(|e| e.to_string()),
        Err(e) => Err(e.to_string()),
    };
    match ledger {
        Err(why) => findings.fail(
            "ledger",
            why,
            "restore it; or remove it with the agent stopped, to begin again from `current`",
        ),
        Ok(ledger) => {
            findings.ok("ledger", format!("{:?}", ledger.phase).to_lowercase());
            executable(patient, &ledger, findings);
            script(patient, &ledger.current.name, findings);
        }
    }
    staged(patient, findings);
}

fn executable(patient: &Patient<'_>, ledger: &common::machine::Ledger, findings: &mut Findings) {
    let home = &patient.home;
    let (name, expected) = (&ledger.current.name, ledger.current.digest);
    let binary = home.binary(name);
    let hint = "it is not started like this: put the bytes back, or install the release anew";
    match files::digest_of(&binary) {
        Err(e) => findings.fail("executable", format!("{}: {e}", binary.display()), hint),
        Ok(found) if found != expected => {
            let detail = format!("{} has digest {found}, {expected} is expected", binary.display());
            findings.fail("executable", detail, hint);
        }
        Ok(found) => findings.ok("executable", format!("{name} {found}")),
    }
    match found::current(home, ledger, None) {
        Some(current) if current.name == *name => findings.ok("current", name),
        _ => {
            let target = home.release_folder(name);
            let detail = format!("{} does not lead to {}", home.current().display(), target.display());
            let hint =
                format!("with the agent stopped: ln -sfn {} {}", target.display(), home.current().display());
            findings.fail("current", detail, hint);
        }
    }
}

/// The operator's script is there for every upgrade.
fn script(patient: &Patient<'_>, name: &ReleaseName, findings: &mut Findings) {
    let mut settings = patient.settings.hooks.clone();
    let Some(script) = settings.pre_upgrade.clone() else { return };
    settings.node_command = false;
    match hooks::check(&patient.home, &settings, name) {
        Ok(()) => findings.ok("hook", script),
        Err(fault) => {
            findings.fail("hook", fault.detail, "no upgrade begins without it: see [hooks] pre_upgrade")
        }
    }
}

/// Every release that waits in `upgrades`.
fn staged(patient: &Patient<'_>, findings: &mut Findings) {
    let entries = std::fs::read_dir(patient.home.root().join("upgrades"));
    let mut folders: Vec<_> = entries.into_iter().flatten().flatten().map(|e| e.path()).collect();
    folders.sort();
    for folder in folders.iter().filter(|f| f.is_dir()) {
        let check = format!("upgrade {}", folder.file_name().unwrap_or_default().to_string_lossy());
        let binary = folder.join("bin").join(&patient.home.daemon);
        match usable(&binary) {
            Ok(what) => findings.ok(check, what),
            Err(why) => {
                let hint = "install it anew: `wemixvisor add-upgrade --force NAME FILE`";
                findings.fail(check, format!("{}: {why}", binary.display()), hint);
            }
        }
        let hook = folder.join("pre-upgrade");
        if hook.symlink_metadata().is_ok() && !hook.is_file() {
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            let detail = format!("{} is no regular file", hook.display());
            findings.fail(format!("hook of {name}"), detail, "put the script there, or remove it");
        }
    }
}

/// Whether a file can be executed here, and what it is.
fn usable(path: &Path) -> Result<String, String> {
    let metadata = path.metadata().map_err(|e| e.to_string())?;
    if !metadata.is_file() {
        return Err("it is no regular file".to_owned());
    }
    if metadata.len() == 0 {
        return Err("it is empty".to_owned());
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err("it is not executable".to_owned());
    }
    let mut head = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| e.to_string())?;
    file.take(20).read_to_end(&mut head).map_err(|e| e.to_string())?;
    kind(&head, std::env::consts::ARCH)
}

/// What a file is by its first 20 bytes: an ELF file for `arch`, or a script.
fn kind(head: &[u8], arch: &str) -> Result<String, String> {
    if head.starts_with(b"#!") {
        return Ok("a script".to_owned());
    }
    let Some(rest) = head.strip_prefix(b"\x7fELF") else {
        return Err("it is neither an ELF file nor a script".to_owned());
    };
    let (Some(order), Some(&[a, b])) = (rest.get(1), rest.get(14..16).and_then(|b| b.first_chunk::<2>()))
    else {
        return Err("it is cut off".to_owned());
    };
    let machine = if *order == 2 { u16::from_be_bytes([a, b]) } else { u16::from_le_bytes([a, b]) };
    let known = match machine {
        62 => "x86_64",
        183 => "aarch64",
        243 => "riscv64",
        40 => "arm",
        3 => "x86",
        _ => "another machine",
    };
    if known == arch {
        return Ok(format!("an executable for {arch}"));
    }
    Err(format!("it is for {known} (ELF machine {machine}), this host is {arch}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_first_bytes() {
        let elf = |order: u8, machine: [u8; 2]| {
            let mut head = vec![0x7f, b'E', b'L', b'F', 2, order, 1];
            head.resize(18, 0);
            head.extend(machine);
            head
        };
        assert!(kind(&elf(1, [62, 0]), "x86_64").is_ok() && kind(&elf(1, [183, 0]), "aarch64").is_ok());
        let wrong = kind(&elf(1, [183, 0]), "x86_64").unwrap_err();
        assert!(wrong.contains("aarch64") && wrong.contains("183"), "{wrong}");
        assert!(kind(&elf(2, [0, 62]), "x86_64").is_ok() && kind(&elf(1, [0, 62]), "x86_64").is_err());
        assert!(kind(b"#!/bin/sh\n", "x86_64").is_ok() && kind(b"PK\x03\x04", "x86_64").is_err());
        assert!(kind(b"\x7fELF\x02\x01", "x86_64").unwrap_err().contains("cut off"));
    }
}
