//! One connection to one host. Every call has a time limit, because the SSH library has none, and a bound on what is read.
use super::error::InstallError;
use super::hostkey::{HostKeys, fingerprint, offered};
use super::quote;
use super::target::Target;
use async_ssh2_tokio::{AuthMethod, Client, Config, Error as SshError, ServerCheckMethod};
use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Most output kept of one command, in bytes.
const MAX_OUTPUT: usize = 256 * 1024;
/// Longest connection set-up.
const CONNECT: Duration = Duration::from_secs(15);

/// How to open connections.
#[derive(Debug)]
pub struct Access {
    /// Private key, OpenSSH or PEM text.
    pub key: String,
    /// Passphrase of the key.
    pub passphrase: Option<String>,
    /// Pinned host keys.
    pub hosts: HostKeys,
    /// Whether the key of a host that has none pinned is pinned now.
    pub trust_on_first_use: bool,
}

/// A connected host.
pub struct Session {
    client: Client,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    /// Exit code.
    pub code: u32,
    /// Standard output, at most 256 KiB.
    pub stdout: String,
    /// Standard error, at most 256 KiB.
    pub stderr: String,
}

async fn resolve(target: &Target) -> Result<SocketAddr, InstallError> {
    let failed = |why: String| InstallError::Resolve { host: target.host.clone(), why };
    let found = timeout(CONNECT, tokio::net::lookup_host((target.host.as_str(), target.port)))
        .await
        .map_err(|_| failed("the resolver did not answer".into()))?
        .map_err(|e| failed(e.to_string()))?
        .next();
    found.ok_or_else(|| failed("no address".into()))
}

impl Session {
    /// Connects, checks the host's key against the pinned one, and logs in.
    ///
    /// # Errors
    /// [`InstallError`] names what was refused: resolution, connection, host key or account.
    pub async fn open(target: &Target, access: &Access) -> Result<Self, InstallError> {
        let address = resolve(target).await?;
        let mut pinned = access.hosts.pinned(target)?;
        if pinned.is_empty() {
            let key = offered(target, address, CONNECT).await?;
            if !access.trust_on_first_use {
                return Err(InstallError::HostKeyUnknown {
                    host: target.host.clone(),
                    fingerprint: fingerprint(&key),
                });
            }
            access.hosts.learn(target, &key)?;
            pinned = access.hosts.pinned(target)?;
        }
        // The library compares with one key, so the host is asked for exactly that kind.
        let Some(pin) =
            pinned.iter().find(|p| p.key.algorithm() == russh::keys::Algorithm::Ed25519).or(pinned.first())
        else {
            return Err(InstallError::HostKeyUnknown {
                host: target.host.clone(),
                fingerprint: "none".into(),
            });
        };
        let algorithms = match pin.key.algorithm() {
            russh::keys::Algorithm::Rsa { .. } => vec![
                russh::keys::Algorithm::Rsa { hash: Some(russh::keys::HashAlg::Sha512) },
                russh::keys::Algorithm::Rsa { hash: Some(russh::keys::HashAlg::Sha256) },
            ],
            one => vec![one],
        };
        let config = Config {
            preferred: russh::Preferred { key: Cow::Owned(algorithms), ..Default::default() },
            keepalive_interval: Some(Duration::from_secs(10)),
            nodelay: true,
            ..Config::default()
        };
        let text = pin
            .key
            .to_openssh()
            .map_err(|e| InstallError::KnownHosts { path: "line in use".into(), why: e.to_string() })?;
        let check =
            ServerCheckMethod::PublicKey(text.split_whitespace().nth(1).unwrap_or_default().to_owned());
        let auth = AuthMethod::with_key(&access.key, access.passphrase.as_deref());
        let connecting = Client::connect_with_config(address, &target.user, auth, check, config);
        let error = match timeout(CONNECT, connecting).await {
            Ok(Ok(client)) => return Ok(Self { client }),
            Ok(Err(e)) => e,
            Err(_) => {
                return Err(InstallError::Unreachable {
                    target: target.to_string(),
                    why: format!("no answer within {} s", CONNECT.as_secs()),
                });
            }
        };
        Err(match error {
            SshError::KeyInvalid(e) => InstallError::Key(e.to_string()),
            SshError::KeyAuthFailed => InstallError::AuthRefused { target: target.to_string() },
            SshError::ServerCheckFailed
            | SshError::SshError(russh::Error::UnknownKey | russh::Error::NoCommonAlgo { .. }) => {
                InstallError::HostKeyChanged {
                    host: target.host.clone(),
                    pinned: fingerprint(&pin.key),
                    line: pin.line,
                    offered: match offered(target, address, CONNECT).await {
                        Ok(key) => fingerprint(&key),
                        Err(_) => "another kind of key".into(),
                    },
                }
            }
            other => InstallError::Unreachable {
                target: target.to_string(),
                why: crate::cli::error::chain(&other),
            },
        })
    }

    /// Runs a command from its arguments and gives it `stdin`. Any exit code is an answer.
    ///
    /// # Errors
    /// When the step takes longer than `limit` or the connection breaks.
    pub async fn run<T: AsRef<str>>(
        &self,
        step: &'static str,
        arguments: &[T],
        stdin: &[u8],
        limit: Duration,
    ) -> Result<Said, InstallError> {
        let line = quote::line(arguments)?;
        let (out_in, mut out) = mpsc::channel::<Vec<u8>>(16);
        let (err_in, mut err) = mpsc::channel::<Vec<u8>>(16);
        // The library spins on a closed input channel, so ours is kept open until the command ends.
        let (feed, feed_out) = mpsc::channel::<Vec<u8>>(stdin.len() / 16_384 + 2);
        for chunk in stdin.chunks(16_384).chain([&[][..]]) {
            let _ = feed.try_send(chunk.to_vec());
        }
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let work = async {
            let running = self.client.execute_io(&line, out_in, Some(err_in), Some(feed_out), false, None);
            tokio::pin!(running);
            let code = loop {
                tokio::select! {
                    ended = &mut running => break ended,
                    Some(bytes) = out.recv() => keep(&mut stdout, &bytes),
                    Some(bytes) = err.recv() => keep(&mut stderr, &bytes),
                }
            };
            while let Ok(bytes) = out.try_recv() {
                keep(&mut stdout, &bytes);
            }
            while let Ok(bytes) = err.try_recv() {
                keep(&mut stderr, &bytes);
            }
            code
        };
        let code = timeout(limit, work)
            .await
            .map_err(|_| InstallError::StepTimeout { step, limit })?
            .map_err(|e| InstallError::Transport { step, why: crate::cli::error::chain(&e) })?;
        drop(feed);
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Said { code, stdout: text(stdout), stderr: text(stderr) })
    }

    /// As [`Session::run`], and anything but exit code 0 is an error with what the command said last.
    ///
    /// # Errors
    /// When the command fails, takes too long, or the connection breaks.
    pub async fn must<T: AsRef<str>>(
        &self,
        step: &'static str,
        arguments: &[T],
        stdin: &[u8],
        limit: Duration,
    ) -> Result<String, InstallError> {
        let said = self.run(step, arguments, stdin, limit).await?;
        if said.code == 0 {
            return Ok(said.stdout);
        }
        let words = if said.stderr.trim().is_empty() { &said.stdout } else { &said.stderr };
        Err(InstallError::Command { step, code: said.code, said: tail(words, 400) })
    }

    /// Sends a local file by SFTP.
    ///
    /// # Errors
    /// When it takes longer than `limit`, the file cannot be read, or the host refuses.
    pub async fn upload(
        &self,
        step: &'static str,
        local: &Path,
        remote: &str,
        limit: Duration,
    ) -> Result<(), InstallError> {
        let sending =
            self.client.upload_file(local.display().to_string(), remote, Some(30), Some(256 * 1024), false);
        timeout(limit, sending)
            .await
            .map_err(|_| InstallError::StepTimeout { step, limit })?
            .map_err(|e| InstallError::Transport { step, why: crate::cli::error::chain(&e) })
    }

    /// Says goodbye; a host that does not answer is left after two seconds.
    pub async fn close(self) {
        let _ = timeout(Duration::from_secs(2), self.client.disconnect()).await;
    }
}

fn keep(all: &mut Vec<u8>, bytes: &[u8]) {
    let room = MAX_OUTPUT.saturating_sub(all.len());
    all.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

/// The end of a text, at most `max` characters.
pub fn tail(text: &str, max: usize) -> String {
    let text = text.trim();
    let skip = text.chars().count().saturating_sub(max);
    text.chars().skip(skip).collect()
}
