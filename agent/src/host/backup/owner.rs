//! Whose files they are. A backup made or restored with `sudo` must still be usable by the node's user.
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// User and group that files made by root are given to; `None` where this process is not root and makes
/// everything its own.
pub type Owner = Option<(u32, u32)>;

/// The owner of what is, or will be, at `path`: its own, else its folder's.
pub fn of(path: &Path) -> Owner {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let found = path.ancestors().find_map(|p| std::fs::symlink_metadata(p).ok());
    found.map(|m| (m.uid(), m.gid()))
}

/// Gives a file, folder or link away; a link itself, not what it leads to.
///
/// # Errors
/// When the system refuses.
pub fn give(path: &Path, owner: Owner) -> io::Result<()> {
    match owner {
        Some((user, group)) => std::os::unix::fs::lchown(path, Some(user), Some(group)),
        None => Ok(()),
    }
}
