//! Pinned host keys. A key is believed because it stands in the known hosts file; it gets there by a person, or on
//! first use when a person asked for that. A changed key is never accepted.
use super::error::InstallError;
use super::target::Target;
use russh::keys::{HashAlg, PublicKey};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A file of pinned host keys in OpenSSH's format.
#[derive(Debug)]
pub struct HostKeys {
    path: PathBuf,
    /// Hosts are installed in parallel; lines must not mix.
    writing: Mutex<()>,
}

/// A pinned key and its line in the file.
#[derive(Debug, Clone)]
pub struct Pinned {
    /// The key.
    pub key: PublicKey,
    /// Line, from 1.
    pub line: usize,
}

/// Fingerprint as OpenSSH prints it, `SHA256:…`.
pub fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

impl HostKeys {
    /// Keys in this file; it need not exist.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), writing: Mutex::new(()) }
    }

    fn failed(&self, why: impl std::fmt::Display) -> InstallError {
        InstallError::KnownHosts { path: self.path.display().to_string(), why: why.to_string() }
    }

    /// The keys pinned for a host.
    ///
    /// # Errors
    /// [`InstallError::KnownHosts`] when the file cannot be read or has lines that would be misunderstood.
    pub fn pinned(&self, target: &Target) -> Result<Vec<Pinned>, InstallError> {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(self.failed(e)),
        };
        // The parser below ignores these markers, which would turn a revoked key into a good one.
        if let Some((n, _)) = text.lines().enumerate().find(|(_, l)| l.starts_with('@')) {
            return Err(
                self.failed(format!("line {}: @revoked and @cert-authority are not supported", n + 1))
            );
        }
        let keys = russh::keys::known_hosts::known_host_keys_path(&target.host, target.port, &self.path)
            .map_err(|e| self.failed(e))?;
        Ok(keys.into_iter().map(|(line, key)| Pinned { key, line }).collect())
    }

    /// Pins a key on first use and says so in the log.
    ///
    /// # Errors
    /// [`InstallError::KnownHosts`] when the file cannot be written.
    pub fn learn(&self, target: &Target, key: &PublicKey) -> Result<(), InstallError> {
        let _one = self.writing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let name = match target.port {
            22 => target.host.clone(),
            port => format!("[{}]:{port}", target.host),
        };
        let key_text = key.to_openssh().map_err(|e| self.failed(e))?;
        if let Some(dir) = self.path.parent() {
            std::fs::create_dir_all(dir).map_err(|e| self.failed(e))?;
        }
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.path)
            .map_err(|e| self.failed(e))?;
        file.write_all(format!("{name} {}\n", key_text.trim()).as_bytes()).map_err(|e| self.failed(e))?;
        file.sync_all().map_err(|e| self.failed(e))?;
        tracing::warn!(host = %name, fingerprint = %fingerprint(key), "host key learnt on first use");
        Ok(())
    }
}

/// Asks a host for its key and goes away; nothing is believed, no account is named.
///
/// # Errors
/// [`InstallError::Unreachable`] when the host does not speak SSH within `limit`.
pub async fn offered(
    target: &Target,
    address: std::net::SocketAddr,
    limit: Duration,
) -> Result<PublicKey, InstallError> {
    struct Listen(Arc<Mutex<Option<PublicKey>>>);
    impl russh::client::Handler for Listen {
        type Error = russh::Error;
        async fn check_server_key(&mut self, key: &PublicKey) -> Result<bool, russh::Error> {
            *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(key.clone());
            Ok(false)
        }
    }
    let heard = Arc::new(Mutex::new(None));
    let config = Arc::new(russh::client::Config::default());
    let asked =
        tokio::time::timeout(limit, russh::client::connect(config, address, Listen(heard.clone()))).await;
    let key = heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    key.ok_or_else(|| InstallError::Unreachable {
        target: target.to_string(),
        why: match asked {
            Err(_) => format!("no answer within {} s", limit.as_secs()),
            Ok(Err(e)) => e.to_string(),
            Ok(Ok(_)) => "it offered no host key".into(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    fn target(text: &str) -> Target {
        text.parse().unwrap()
    }

    #[test]
    fn a_learnt_key_is_pinned_for_that_host_and_port_only() {
        let dir = tempfile::tempdir().unwrap();
        let keys = HostKeys::new(&dir.path().join("new/known_hosts"));
        let key = PublicKey::from_openssh(KEY).unwrap();
        assert!(keys.pinned(&target("root@a:2222")).unwrap().is_empty());
        keys.learn(&target("root@a:2222"), &key).unwrap();
        keys.learn(&target("root@b"), &key).unwrap();
        let found = keys.pinned(&target("other@a:2222")).unwrap();
        assert_eq!((found.len(), found[0].line), (1, 1));
        assert_eq!(fingerprint(&found[0].key), fingerprint(&key));
        assert_eq!(keys.pinned(&target("root@b:22")).unwrap()[0].line, 2);
        assert!(keys.pinned(&target("root@a:22")).unwrap().is_empty());
    }

    #[test]
    fn markers_that_would_be_ignored_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("known_hosts");
        std::fs::write(&path, format!("@revoked a {KEY}\n")).unwrap();
        let said = HostKeys::new(&path).pinned(&target("root@a")).unwrap_err().to_string();
        assert!(said.contains("line 1"), "{said}");
    }
}
