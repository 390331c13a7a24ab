//! A home that fetches from a server of its own.
use crate::server::{Say, Server};
use agent::config::{DownloadSettings, Settings};
use agent::home::Home;
use common::id::ReleaseName;
use common::manifest::TrustRoot;
use common::release::{Digest, InstalledRelease};
use common::time::Span;
use common::wire::v1::{Fault, FaultCode};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A script of so many bytes.
pub fn script(size: usize) -> Vec<u8> {
    let mut bytes = b"#!/bin/sh\nexit 0\n".to_vec();
    bytes.resize(size.max(bytes.len()), b'#');
    bytes
}

/// `sha256:HEX`.
pub fn sum(bytes: &[u8]) -> String {
    format!("sha256:{}", Digest::of(bytes))
}

/// A plan's info with one URL for every platform.
pub fn any(url: &str) -> String {
    serde_json::json!({"binaries": {"any": url}}).to_string()
}

pub fn name(name: &str) -> ReleaseName {
    ReleaseName::new(name).unwrap()
}

pub struct Site {
    pub folder: tempfile::TempDir,
    pub home: Home,
    pub settings: DownloadSettings,
    pub trust: Option<TrustRoot>,
    pub server: Server,
}

impl Site {
    pub async fn new() -> Site {
        Site::beside(Server::start().await)
    }

    pub fn beside(server: Server) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path().to_owned(), "geth".into());
        std::fs::create_dir_all(home.root()).unwrap();
        let mut settings = Settings::of(folder.path().to_owned(), "geth".into()).download;
        settings.allowed = true;
        settings.private = true;
        settings.max_bytes = 1 << 20;
        settings.within = Span::secs(30);
        Site { folder, home, settings, trust: None, server }
    }

    pub async fn stage(&self, info: &str) -> Result<InstalledRelease, Fault> {
        let (home, settings, trust) = (&self.home, &self.settings, self.trust.as_ref());
        agent::host::fetch::stage_plan(home, settings, trust, None, &name("v2"), info, |_, _| {}).await
    }

    /// It is fetched, placed and stored, and nothing else is there.
    pub async fn fetched(&self, what: &str, info: &str, executable: &[u8]) {
        let installed = self.stage(info).await.unwrap_or_else(|f| panic!("{what}: {f:?}"));
        let digest = Digest::of(executable);
        assert_eq!(installed, InstalledRelease { name: name("v2"), sequence: 0, digest }, "{what}");
        self.has_only(what, executable);
    }

    /// The executable has both its names, can be executed, and nothing else is there.
    pub fn has_only(&self, what: &str, executable: &[u8]) {
        let (stored, placed) = (self.home.artifact(&Digest::of(executable)), self.home.binary(&name("v2")));
        assert_eq!(std::fs::read(&placed).unwrap(), executable, "{what}");
        assert_eq!(std::fs::metadata(&placed).unwrap().permissions().mode() & 0o777, 0o555, "{what}");
        assert_eq!(self.files(), [stored, placed], "{what}");
    }

    /// It is refused with this code and these words, and nothing is left.
    pub async fn refused(&self, what: &str, info: &str, code: FaultCode, words: &str) {
        let fault = self.stage(info).await.expect_err(what);
        assert_eq!(fault.code, code, "{what}: {fault:?}");
        assert!(fault.detail.contains(words), "{what}: {fault:?}");
        assert_eq!(self.files(), Vec::<PathBuf>::new(), "{what}");
    }

    /// As [`Site::refused`], for a file that is served like this and has this checksum.
    pub async fn refuses(&self, what: &str, say: Say, sum: &str, code: FaultCode, words: &str) {
        self.server.on("/geth", [say]);
        let url = self.server.url(&format!("/geth?checksum={sum}"));
        self.refused(what, &any(&url), code, words).await;
    }

    /// Every file below store and upgrades.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for folder in ["store", "upgrades"] {
            files(&self.home.root().join(folder), &mut found);
        }
        found.sort();
        found
    }
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}
