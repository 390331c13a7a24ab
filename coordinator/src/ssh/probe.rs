//! What a host is, found out with one command before anything is changed.
use super::error::InstallError;
use super::session::{Session, tail};
use std::time::Duration;

/// A constant script; the folder whose disk is asked for comes as `$1`.
const SCRIPT: &str = r#"
echo "os=$(uname -s)"; echo "arch=$(uname -m)"; echo "uid=$(id -u)"; echo "user=$(id -un)"; echo "shell_home=$HOME"
if [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1; then echo init=systemd; else echo init=none; fi
if [ "$(id -u)" = 0 ]; then echo root=self; elif sudo -n true 2>/dev/null; then echo root=sudo; else echo root=no; fi
d=$1; while [ ! -d "$d" ]; do d=$(dirname -- "$d"); done
echo "free_kib=$(df -Pk -- "$d" | awk 'NR==2{print $4}')"
if [ ! -d "$1/wemixvisor" ] && [ -d "$1/cosmovisor" ]; then echo folder=cosmovisor; else echo folder=wemixvisor; fi
if [ -d "$1" ]; then echo "owner=$(stat -c %U -- "$1")"; fi
"#;

/// How the host starts services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Init {
    /// systemd: a unit is installed.
    Systemd,
    /// None that we know: the agent is started detached and does not survive a reboot.
    None,
}

/// How root's rights are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// The account is root.
    Myself,
    /// By `sudo -n`.
    Sudo,
    /// Not at all.
    No,
}

/// What a host is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Operating system as Rust names it.
    pub os: String,
    /// Architecture as Rust names it.
    pub arch: String,
    /// Account.
    pub user: String,
    /// Its home folder.
    pub shell_home: String,
    /// How services are started.
    pub init: Init,
    /// How root's rights are reached.
    pub root: Root,
    /// Free bytes where the node's home is or will be.
    pub free_bytes: u64,
    /// The supervisor's folder in the home: `wemixvisor`, or `cosmovisor` where only that exists.
    pub folder: String,
    /// Who owns the node's home, when it exists.
    pub owner: Option<String>,
}

/// Finds out what the host is. `home` is the node's home folder, which need not exist.
///
/// # Errors
/// When the host cannot be asked or answers nonsense.
pub async fn probe(session: &Session, home: &str) -> Result<Facts, InstallError> {
    let said = session
        .must("looking at the host", &["sh", "-c", SCRIPT, "sh", home], b"", Duration::from_secs(20))
        .await?;
    read(&said).ok_or(InstallError::Answer { step: "looking at the host", said: tail(&said, 200) })
}

fn read(said: &str) -> Option<Facts> {
    let get = |key: &str| said.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('=')).map(str::trim);
    Some(Facts {
        os: get("os")?.to_ascii_lowercase(),
        arch: match get("arch")? {
            "amd64" => "x86_64",
            "arm64" => "aarch64",
            other => other,
        }
        .to_owned(),
        user: get("user")?.to_owned(),
        shell_home: get("shell_home").filter(|h| h.starts_with('/')).unwrap_or("/").to_owned(),
        init: if get("init")? == "systemd" { Init::Systemd } else { Init::None },
        root: match get("root")? {
            "self" => Root::Myself,
            "sudo" => Root::Sudo,
            _ => Root::No,
        },
        free_bytes: get("free_kib")?.parse::<u64>().ok()?.checked_mul(1024)?,
        folder: get("folder").filter(|f| *f == "cosmovisor").unwrap_or("wemixvisor").to_owned(),
        owner: get("owner").filter(|o| !o.is_empty()).map(str::to_owned),
    })
}

/// Platform of an ELF executable, `os/arch`, from its first bytes; `None` when it is no ELF we know.
pub fn elf_platform(head: &[u8]) -> Option<(&'static str, &'static str)> {
    if head.len() < 20 || head[..4] != *b"\x7fELF" || head[5] != 1 {
        return None;
    }
    match u16::from_le_bytes([head[18], head[19]]) {
        62 => Some(("linux", "x86_64")),
        183 => Some(("linux", "aarch64")),
        243 => Some(("linux", "riscv64")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read() {
        let said = "motd noise\nos=Linux\narch=amd64\nuid=0\nuser=root\nshell_home=/root\ninit=systemd\nroot=self\nfree_kib=100\nowner=geth\n";
        let facts = read(said).unwrap();
        assert_eq!((facts.os.as_str(), facts.arch.as_str()), ("linux", "x86_64"));
        assert_eq!((facts.init, facts.root, facts.free_bytes), (Init::Systemd, Root::Myself, 102_400));
        assert_eq!(facts.owner.as_deref(), Some("geth"));
        assert!(read("os=Linux\n").is_none());
        assert!(read(&said.replace("=100", "=lots")).is_none());
    }

    #[test]
    fn this_test_is_an_elf_for_this_platform() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(elf_platform(&bytes), Some((std::env::consts::OS, std::env::consts::ARCH)));
        assert_eq!(elf_platform(b"#!/bin/sh\necho hello there"), None);
    }
}
