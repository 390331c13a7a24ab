//! `current`: one link, replaced in one rename.
use super::files;
use crate::clock;
use crate::home::Home;
use common::release::InstalledRelease;
use common::wire::v1::{Fault, FaultCode};
use std::io;
use std::path::Path;

/// Makes `current` point to a release. What is there stays until the new link takes its name.
///
/// # Errors
/// [`FaultCode::SwitchFailed`]; `current` is then as before.
pub fn switch(home: &Home, release: &InstalledRelease) -> Result<(), Fault> {
    let binary = home.binary(&release.name);
    if !binary.is_file() {
        let detail = format!("there is no executable {}", binary.display());
        return Err(clock::fault(FaultCode::SwitchFailed, detail));
    }
    let folder = home.release_folder(&release.name);
    point(home, &folder).map_err(|e| {
        let detail = format!("{} -> {}: {e}", home.current().display(), folder.display());
        clock::fault(FaultCode::SwitchFailed, detail)
    })
}

fn point(home: &Home, folder: &Path) -> io::Result<()> {
    let current = home.current();
    if std::fs::read_link(&current).is_ok_and(|link| link == folder) {
        return Ok(());
    }
    let new = files::beside(&current);
    match std::fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    std::os::unix::fs::symlink(folder, &new)?;
    std::fs::rename(&new, &current)?;
    files::sync_folder(home.root())
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::id::ReleaseName;
    use common::release::Digest;

    #[test]
    fn current_is_replaced_and_never_missing() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path().to_owned(), "geth".into());
        let release = |name: &str| InstalledRelease {
            name: ReleaseName::new(name).unwrap(),
            sequence: 0,
            digest: Digest([0; 32]),
        };
        for name in ["genesis", "v2"] {
            let binary = home.binary(&release(name).name);
            std::fs::create_dir_all(binary.parent().unwrap()).unwrap();
            std::fs::write(binary, name).unwrap();
        }
        for name in ["genesis", "v2", "v2", "genesis"] {
            switch(&home, &release(name)).unwrap();
            assert_eq!(std::fs::read_to_string(home.current().join("bin/geth")).unwrap(), name);
        }
        let fault = switch(&home, &release("v3")).unwrap_err();
        assert_eq!(fault.code, FaultCode::SwitchFailed);
        assert!(home.current().join("bin/geth").is_file());
    }
}
