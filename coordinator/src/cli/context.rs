//! Which fleet, by which right: address, CA and token. Flag over environment over the context file.
use super::error::{Failure, Outcome};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Flags that every command takes.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ServerFlags {
    /// Address of the coordinator, for example `https://fleet.example:7443`.
    #[arg(long, global = true, env = "WEMIXFLEET_SERVER", value_name = "URL", help_heading = "Connection")]
    pub server: Option<String>,
    /// File with the fleet's CA certificate (PEM); no other CA is believed.
    #[arg(long, global = true, env = "WEMIXFLEET_CA", value_name = "FILE", help_heading = "Connection")]
    pub ca: Option<PathBuf>,
    /// File with the bearer token; the environment variable WEMIXFLEET_TOKEN holds the token itself.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection")]
    pub token_file: Option<PathBuf>,
    /// Name of a context in the context file, instead of the current one.
    #[arg(long, global = true, env = "WEMIXFLEET_CONTEXT", value_name = "NAME", help_heading = "Connection")]
    pub context: Option<String>,
}

/// The context file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContextFile {
    /// The one used when none is named.
    #[serde(default)]
    pub current: Option<String>,
    /// All of them.
    #[serde(default)]
    pub context: BTreeMap<String, Context>,
}

/// One fleet and the right to talk to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// Address of the coordinator.
    pub server: String,
    /// File with the CA certificate (PEM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// Folder of our own files under the user's XDG configuration folder.
///
/// # Errors
/// When neither `XDG_CONFIG_HOME` nor `HOME` is set.
pub fn config_dir() -> Outcome<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    set("XDG_CONFIG_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".config")))
        .map(|dir| dir.join("wemixfleet"))
        .ok_or_else(|| {
            Failure::usage("no folder for configuration").because("neither XDG_CONFIG_HOME nor HOME is set")
        })
}

fn context_path() -> Outcome<PathBuf> {
    Ok(config_dir()?.join("context.toml"))
}

fn read_contexts(path: &Path) -> Outcome<ContextFile> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(ContextFile::default()),
        Err(e) => return Err(Failure::usage(format!("cannot read {}", path.display())).because(e)),
    };
    let mode = std::fs::metadata(path).map(|m| m.permissions().mode()).unwrap_or(0);
    if mode & 0o077 != 0 {
        return Err(Failure::usage(format!("{} holds tokens and others may read it", path.display()))
            .hint(format!("chmod 600 {}", path.display())));
    }
    toml::from_str(&text).map_err(|e| Failure::usage(format!("cannot read {}", path.display())).because(e))
}

/// Writes a context and makes it the current one. The file gets mode 0600 and is replaced as a whole.
///
/// # Errors
/// When the file cannot be read or written; the error names it.
pub fn save(name: &str, context: Context) -> Outcome<PathBuf> {
    let path = context_path()?;
    let mut file = read_contexts(&path)?;
    file.context.insert(name.to_owned(), context);
    file.current = Some(name.to_owned());
    let text =
        toml::to_string_pretty(&file).map_err(|e| Failure::usage("cannot write contexts").because(e))?;
    write_private(&path, text.as_bytes())?;
    Ok(path)
}

/// Writes a file that only its owner may read: temporary name, fsync, rename.
///
/// # Errors
/// When a step fails; the error names the file.
pub fn write_private(path: &Path, bytes: &[u8]) -> Outcome<()> {
    let failed = |e: std::io::Error| Failure::usage(format!("cannot write {}", path.display())).because(e);
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir).map_err(failed)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = dir.join(name);
    let written = (|| {
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&part, path)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    written.map_err(failed)
}

impl ServerFlags {
    /// What to talk to, from flags, environment and file.
    ///
    /// # Errors
    /// When no address is known anywhere, or a named file cannot be read.
    pub fn resolve(&self) -> Outcome<Context> {
        let path = context_path();
        let file = match &path {
            Ok(path) => read_contexts(path)?,
            Err(_) => ContextFile::default(),
        };
        let stored = match (&self.context, &file.current) {
            (Some(name), _) => Some(file.context.get(name).cloned().ok_or_else(|| {
                let known = file.context.keys().cloned().collect::<Vec<_>>().join(", ");
                Failure::usage(format!("no context {name:?}")).hint(format!("known contexts: {known}"))
            })?),
            (None, Some(name)) => file.context.get(name).cloned(),
            (None, None) => None,
        };
        let server = self.server.clone().or_else(|| stored.as_ref().map(|c| c.server.clone())).ok_or_else(|| {
            Failure::usage("which fleet?").because("no --server, no WEMIXFLEET_SERVER and no context").hint(
                "`wemixfleet init` makes a fleet and a context, or give --server, --ca and --token-file",
            )
        })?;
        let ca = self.ca.clone().or_else(|| stored.as_ref().and_then(|c| c.ca.clone()));
        Ok(Context { server, ca, token: self.token()?.or(stored.and_then(|c| c.token)) })
    }

    fn token(&self) -> Outcome<Option<String>> {
        if let Some(path) = &self.token_file {
            let text = std::fs::read_to_string(path).map_err(|e| {
                Failure::usage(format!("cannot read the token from {}", path.display())).because(e)
            })?;
            return Ok(Some(text.trim().to_owned()));
        }
        Ok(std::env::var("WEMIXFLEET_TOKEN").ok().map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_files_are_private_and_leave_no_part() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/context.toml");
        write_private(&path, b"one").unwrap();
        write_private(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_readable_context_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("context.toml");
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let said = read_contexts(&path).unwrap_err().to_string();
        assert!(said.contains("others may read it") && said.contains("chmod 600"), "{said}");
    }

    #[test]
    fn unknown_keys_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("context.toml");
        write_private(&path, b"[context.a]\nserver = \"https://x\"\nserve = 1\n").unwrap();
        assert!(read_contexts(&path).unwrap_err().to_string().contains("serve"));
    }
}
