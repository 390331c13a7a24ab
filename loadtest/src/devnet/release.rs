//! Making releases: copies of one executable that differ in what they say and do.
use super::error::{DevnetError, file};
use crate::devnode::Release;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Writes `release` as an executable to `out`, made from `node_binary`; debug sections are left out where `strip` exists.
/// The file appears complete or not at all.
///
/// # Errors
/// A file cannot be read or written.
pub fn make_release(node_binary: &Path, release: &Release, out: &Path) -> Result<(), DevnetError> {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temp = out.with_file_name(name);
    let code = Release::code_of(node_binary)?;
    write_executable(&temp, &code)?;
    // Without strip the file is merely larger.
    let _ = Command::new("strip")
        .arg("--strip-all")
        .arg(&temp)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let trailer = release.trailer()?;
    let mut end = std::fs::File::options().append(true).open(&temp).map_err(file("open", &temp))?;
    end.write_all(&trailer).map_err(file("write", &temp))?;
    drop(end);
    std::fs::rename(&temp, out).map_err(file("rename to", out))
}

fn write_executable(path: &Path, code: &[u8]) -> Result<(), DevnetError> {
    let mut to = std::fs::File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o755)
        .open(path)
        .map_err(file("create", path))?;
    to.write_all(code).map_err(file("write", path))
}
