//! A connected host with what is known of it: files placed under a temporary name first, and an undo list until all is well.
use super::error::InstallError;
use super::probe::{Facts, Root};
use super::session::{Said, Session};
use std::path::Path;
use std::time::Duration;

/// Limit of small commands.
pub const SHORT: Duration = Duration::from_secs(20);
/// Limit of sending the agent's binary.
pub const UPLOAD: Duration = Duration::from_secs(300);

/// Puts `$1` in place as `$2` with mode `$3` and owner `$4` (or none); what was there goes to `$5`. The new file has its final name only when complete.
const PLACE: &str = r#"set -e
part="$2.part"; trap 'rm -f -- "$part"' EXIT
mkdir -p -- "$(dirname -- "$2")"
cp -- "$1" "$part"; chmod "$3" "$part"; [ -z "$4" ] || chown "$4" "$part"
sync -- "$part" 2>/dev/null || sync
[ ! -e "$2" ] || cp -p -- "$2" "$5"
mv -f -- "$part" "$2""#;

/// Undoes a placement: the file from before comes back, a new one goes.
const UNDO: &str =
    r#"if [ -e "$2" ]; then cp -p -- "$2" "$1.part" && mv -f -- "$1.part" "$1"; else rm -f -- "$1"; fi"#;

/// A host that is being worked on.
pub struct Host {
    session: Session,
    /// What it is.
    pub facts: Facts,
    staging: Option<String>,
    placed: Vec<(String, String)>,
}

impl Host {
    /// A host whose facts are known.
    pub fn new(session: Session, facts: Facts) -> Self {
        Self { session, facts, staging: None, placed: Vec::new() }
    }

    fn as_root(&self, arguments: &[&str]) -> Vec<String> {
        let prefix: &[&str] = if self.facts.root == Root::Sudo { &["sudo", "-n", "--"] } else { &[] };
        prefix.iter().chain(arguments).map(|a| (*a).to_owned()).collect()
    }

    /// Runs a command with root's rights where the account has them; exit code 0 or an error.
    ///
    /// # Errors
    /// When the command fails or takes too long.
    pub async fn root(
        &self,
        step: &'static str,
        arguments: &[&str],
        limit: Duration,
    ) -> Result<String, InstallError> {
        self.session.must(step, &self.as_root(arguments), b"", limit).await
    }

    /// As [`Host::root`], any exit code is an answer.
    ///
    /// # Errors
    /// When the command takes too long.
    pub async fn ask_root(&self, step: &'static str, arguments: &[&str]) -> Result<Said, InstallError> {
        self.session.run(step, &self.as_root(arguments), b"", SHORT).await
    }

    /// Runs a command as the account the agent runs as.
    ///
    /// # Errors
    /// When the command fails or takes too long.
    pub async fn user(
        &self,
        step: &'static str,
        user: &str,
        arguments: &[&str],
    ) -> Result<String, InstallError> {
        let prefix: &[&str] = match self.facts.root {
            _ if user == self.facts.user => &[],
            Root::Sudo => &["sudo", "-n", "-u", user, "--"],
            _ => &["runuser", "-u", user, "--"],
        };
        let words: Vec<&str> = prefix.iter().chain(arguments).copied().collect();
        self.session.must(step, &words, b"", SHORT).await
    }

    /// The staging folder, made on first use. Everyone may look into it: it holds nothing secret.
    async fn staging(&mut self) -> Result<String, InstallError> {
        if let Some(dir) = &self.staging {
            return Ok(dir.clone());
        }
        let script = r#"d=$(mktemp -d) && chmod 755 "$d" && echo "$d""#;
        let said = self.session.must("making a temporary folder", &["sh", "-c", script], b"", SHORT).await?;
        let dir = said.trim().to_owned();
        if !dir.starts_with('/') {
            return Err(InstallError::Answer { step: "making a temporary folder", said: dir });
        }
        self.staging = Some(dir.clone());
        Ok(dir)
    }

    /// Sends a small text into the staging folder; the path on the host.
    ///
    /// # Errors
    /// When the host refuses or takes too long.
    pub async fn stage_text(
        &mut self,
        step: &'static str,
        name: &str,
        text: &str,
    ) -> Result<String, InstallError> {
        let path = format!("{}/{name}", self.staging().await?);
        let script = r#"cat >"$1" && chmod 644 "$1""#;
        self.session.must(step, &["sh", "-c", script, "sh", &path], text.as_bytes(), SHORT).await?;
        Ok(path)
    }

    /// Sends a file into the staging folder and compares its digest there; the path on the host.
    ///
    /// # Errors
    /// [`InstallError::Digest`] when other bytes arrived.
    pub async fn stage_file(
        &mut self,
        step: &'static str,
        local: &Path,
        sha256: &str,
    ) -> Result<String, InstallError> {
        let path = format!("{}/agent", self.staging().await?);
        self.session.upload(step, local, &path, UPLOAD).await?;
        let said = self.session.must(step, &["sha256sum", "--", &path], b"", SHORT).await?;
        let found = said.split_whitespace().next().unwrap_or_default().trim_start_matches('\\');
        if found != sha256 {
            return Err(InstallError::Digest { found: found.to_owned(), expected: sha256.to_owned() });
        }
        Ok(path)
    }

    /// Puts a staged file in its place. [`Host::undo`] takes it back.
    ///
    /// # Errors
    /// When the host refuses or takes too long; nothing is left under the temporary name.
    pub async fn place(
        &mut self,
        step: &'static str,
        staged: &str,
        path: &str,
        mode: &str,
        owner: &str,
    ) -> Result<(), InstallError> {
        let before = format!("{}/before-{}", self.staging().await?, self.placed.len());
        // Noted first: a broken connection leaves open whether the script ran.
        self.placed.push((path.to_owned(), before.clone()));
        self.root(step, &["sh", "-c", PLACE, "sh", staged, path, mode, owner, &before], SHORT)
            .await
            .map(|_| ())
    }

    /// From here on what was placed stays.
    pub fn keep(&mut self) {
        self.placed.clear();
    }

    /// Takes every placed file back, newest first. Failures are logged; there is nothing else to do about them.
    pub async fn undo(&mut self) {
        while let Some((path, before)) = self.placed.pop() {
            if let Err(e) = self.root("undoing", &["sh", "-c", UNDO, "sh", &path, &before], SHORT).await {
                tracing::warn!(%path, error = %e, "could not be taken back");
            }
        }
    }

    /// Removes the staging folder and says goodbye.
    pub async fn close(self) {
        if let Some(dir) = &self.staging {
            let _ = self.root("cleaning up", &["rm", "-rf", "--", dir], SHORT).await;
        }
        self.session.close().await;
    }
}
