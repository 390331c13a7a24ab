//! A home with data in it, and what is asked of it.
use agent::config::Settings;
use agent::home::Home;
use agent::host::backup::{self, Backup, BackupError, Meta};
use common::time::UnixMs;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

/// When all backups of the library's tests are made.
pub const AT: UnixMs = UnixMs(1_767_323_045_000);
/// Their stamp.
pub const STAMP: &str = "20260102-030405";

/// A home.
pub struct Site {
    pub folder: tempfile::TempDir,
    pub settings: Settings,
}

impl Site {
    /// A home with chain data of every kind in `data`.
    pub fn new() -> Site {
        let site = Site::empty();
        let data = site.data();
        for (path, text, mode) in [
            ("geth/chaindata/000001.sst", "blocks", 0o600),
            ("geth/chaindata/CURRENT", "MANIFEST-1", 0o644),
            ("geth/nodekey", "secret one", 0o600),
            ("keystore/UTC--1", "secret two", 0o400),
            ("tool", "#!", 0o755),
            ("100% odd\nname", "odd", 0o640),
        ] {
            put(&data.join(path), text);
            std::fs::set_permissions(data.join(path), std::fs::Permissions::from_mode(mode)).unwrap();
        }
        put(&data.join(OsStr::from_bytes(b"no\xffutf8")), "bytes");
        std::fs::create_dir_all(data.join("geth/empty")).unwrap();
        std::os::unix::fs::symlink("/mnt/slow disk", data.join("geth/ancient")).unwrap();
        std::fs::set_permissions(data.join("geth/empty"), std::fs::Permissions::from_mode(0o750)).unwrap();
        age(&data);
        site
    }

    /// A home with an empty `data`.
    pub fn empty() -> Site {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("data")).unwrap();
        std::fs::create_dir_all(folder.path().join("wemixvisor/fleet")).unwrap();
        put(&folder.path().join("wemixvisor/fleet/key.pem"), "fleet secret");
        let settings = Settings::of(folder.path().to_owned(), "geth".into());
        Site { folder, settings }
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub fn data(&self) -> PathBuf {
        self.at("data")
    }

    pub fn home(&self) -> Home {
        self.settings.layout()
    }

    /// Runs `wemixvisor backup …`.
    pub fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wemixvisor"));
        command.env("DAEMON_HOME", self.folder.path()).env("DAEMON_NAME", "geth").stdin(Stdio::null());
        command.arg("backup").args(args).output().unwrap()
    }

    /// Runs it and reads its JSON; it must end well.
    pub fn json(&self, args: &[&str]) -> Value {
        let output = self.run(&[args, &["-o", "json"]].concat());
        assert!(output.status.success(), "{args:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs it; it must be refused with a message that holds `says`.
    pub fn refused(&self, args: &[&str], says: &str) {
        let output = self.run(args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
        assert!(text.contains(says), "{args:?}: {text}");
    }

    /// Makes a backup with the library.
    pub fn made(&self, label: &str) -> Result<Backup, BackupError> {
        let plan = backup::plan(&self.home(), &self.settings)?;
        let meta = Meta { made_at: AT, release: None, height: Some(42), live: false };
        backup::snapshot(&plan, label, &meta, &mut |_| ())
    }

    /// Everything below the home except the supervisor's folder and what makes the difference of times.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

/// Writes a file, with its folders.
pub fn put(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// Gives everything in a tree a time of long ago, with a fraction of a second.
pub fn age(path: &Path) {
    let metadata = path.symlink_metadata().unwrap();
    if metadata.is_dir() {
        std::fs::read_dir(path).unwrap().for_each(|e| age(&e.unwrap().path()));
    }
    if !metadata.is_symlink() {
        let time = SystemTime::UNIX_EPOCH + Duration::new(1_500_000_000 + metadata.ino() % 1000, 123_456_789);
        std::fs::File::open(path).unwrap().set_modified(time).unwrap();
    }
}

/// Everything in a tree: kind, mode, time and content by path.
pub fn tree(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    look(root, Path::new(""), &mut found);
    found
}

fn look(root: &Path, path: &Path, found: &mut BTreeMap<PathBuf, String>) {
    let full = root.join(path);
    let m = full.symlink_metadata().unwrap();
    let what = if m.is_symlink() {
        format!("link {:?}", std::fs::read_link(&full).unwrap())
    } else if m.is_file() {
        format!("file {:o} {}.{} {:?}", m.mode(), m.mtime(), m.mtime_nsec(), std::fs::read(&full).unwrap())
    } else {
        format!("{:o} {}.{}", m.mode(), m.mtime(), m.mtime_nsec())
    };
    found.insert(path.to_owned(), what);
    if m.is_dir() {
        for entry in std::fs::read_dir(&full).unwrap() {
            look(root, &path.join(entry.unwrap().file_name()), found);
        }
    }
}

/// A file system that is unmounted at the end.
pub struct Mounted(PathBuf);

impl Mounted {
    /// Mounts a small tmpfs; `None`, and a message, where that is not allowed.
    pub fn tmpfs(path: &Path, size: &str) -> Option<Mounted> {
        std::fs::create_dir_all(path).unwrap();
        let options = format!("size={size},mode=755");
        Mounted::mount(&["-t", "tmpfs", "-o", &options, "tmpfs"], path)
    }

    /// Makes and mounts a file system that can share blocks; `None`, and a message, where that cannot be.
    pub fn reflink(path: &Path, image: &Path) -> Option<Mounted> {
        std::fs::create_dir_all(path).unwrap();
        std::fs::File::create(image).unwrap().set_len(320 << 20).unwrap();
        let made = ["mkfs.btrfs", "mkfs.xfs"].iter().any(|make| {
            let status = Command::new(make).arg(image).stdout(Stdio::null()).stderr(Stdio::null()).status();
            status.is_ok_and(|s| s.success())
        });
        if !made {
            eprintln!("skipped: no file system with reflink can be made here");
            return None;
        }
        Mounted::mount(&["-o", "loop", image.to_str().unwrap()], path)
    }

    fn mount(args: &[&str], path: &Path) -> Option<Mounted> {
        let status = Command::new("mount").args(args).arg(path).stderr(Stdio::null()).status();
        if status.is_ok_and(|s| s.success()) {
            return Some(Mounted(path.to_owned()));
        }
        eprintln!("skipped: mounting is not allowed here");
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let status = Command::new("umount").arg(&self.0).status();
        assert!(status.is_ok_and(|s| s.success()) || std::thread::panicking(), "not unmounted");
    }
}
