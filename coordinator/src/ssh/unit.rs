//! The systemd unit of an agent: its own account, and as small a view of the host as supervising a node allows.
use common::id::NodeName;

/// What goes into the unit.
#[derive(Debug)]
pub struct UnitSpec<'a> {
    /// The node.
    pub node: &'a NodeName,
    /// Account the agent and its node run as.
    pub user: &'a str,
    /// Path of the agent's binary.
    pub agent: &'a str,
    /// `DAEMON_HOME`: the node's home folder.
    pub home: &'a str,
    /// `DAEMON_NAME`: file name of the chain client.
    pub daemon: &'a str,
    /// Further folders the chain client writes to, for example its data directory.
    pub writable: &'a [String],
}

/// Why a path or name cannot stand in a unit file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} {text:?} cannot be used: only letters, digits and . _ - / @ + are allowed, and a path begins with '/'"
)]
pub struct UnitError {
    what: &'static str,
    text: String,
}

/// Accepts what means nothing to systemd, to a shell or to TOML beyond itself.
///
/// # Errors
/// [`UnitError`] names the text.
pub fn plain_path(what: &'static str, text: &str) -> Result<(), UnitError> {
    let ok = text.starts_with('/')
        && text.len() <= 512
        && text.chars().all(plain)
        && !text.split('/').any(|p| p == "..");
    if ok { Ok(()) } else { Err(UnitError { what, text: text.to_owned() }) }
}

/// A file or account name that means nothing beyond itself.
///
/// # Errors
/// [`UnitError`] names the text.
pub fn plain_name(what: &'static str, text: &str) -> Result<(), UnitError> {
    let ok = !text.is_empty()
        && text.len() <= 64
        && !text.starts_with(['-', '.'])
        && text.chars().all(|c| plain(c) && c != '/');
    if ok { Ok(()) } else { Err(UnitError { what, text: text.to_owned() }) }
}

fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | '@' | '+')
}

/// The text of the unit.
///
/// # Errors
/// [`UnitError`] when a path or name holds a character that could mean something.
pub fn render(spec: &UnitSpec<'_>) -> Result<String, UnitError> {
    plain_path("the agent's path", spec.agent)?;
    plain_path("the home", spec.home)?;
    plain_name("the account", spec.user)?;
    plain_name("the chain client's name", spec.daemon)?;
    let mut writable = spec.home.to_owned();
    for path in spec.writable {
        plain_path("the folder", path)?;
        writable.push(' ');
        writable.push_str(path);
    }
    let UnitSpec { node, user, agent, home, daemon, .. } = spec;
    let head = format!(
        "# Written by `wemixfleet node install`; the next installation replaces it.\n\
         [Unit]\nDescription=wemixvisor, supervisor of {node}\nWants=network-online.target\nAfter=network-online.target\n\
         StartLimitIntervalSec=0\n\n\
         [Service]\nType=exec\nUser={user}\nEnvironment=DAEMON_HOME={home} DAEMON_NAME={daemon}\n\
         ExecStart={agent} run\nRestart=always\nRestartSec=1\n\
         # A restart of the agent leaves the node alone; the agent adopts it again.\n\
         KillMode=process\n\
         # The agent divides its control group: what the node starts cannot leave the node's part of it.\n\
         Delegate=yes\nTimeoutStopSec=30\nLimitNOFILE=1048576\n\n\
         ReadWritePaths={writable}\n"
    );
    // A home under /home would be hidden with the rest of it.
    let in_home =
        writable.split(' ').any(|p| ["/home/", "/root", "/run/user"].iter().any(|h| p.starts_with(h)));
    Ok(head + if in_home { "" } else { "ProtectHome=tmpfs\n" } + SANDBOX)
}

/// What neither the agent nor a chain client needs. Network, own files, /proc and the unit's own control group remain:
/// with `ProtectControlGroups` that group could not be divided, and no other is writable for an account without
/// privileges.
const SANDBOX: &str = "\
UMask=0027
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
PrivateTmp=yes
PrivateDevices=yes
DevicePolicy=closed
PrivateUsers=yes
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallFilter=setpriority setrlimit prlimit64 sched_setaffinity sched_setscheduler sched_setattr ioprio_set
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
";

#[cfg(test)]
mod tests {
    use super::*;

    fn spec<'a>(node: &'a NodeName, home: &'a str, writable: &'a [String]) -> UnitSpec<'a> {
        UnitSpec {
            node,
            user: "wemixvisor",
            agent: "/usr/local/bin/wemixvisor",
            home,
            daemon: "geth",
            writable,
        }
    }

    #[test]
    fn a_restart_of_the_agent_leaves_the_node() {
        let node = NodeName::new("val-1").unwrap();
        let text = render(&spec(&node, "/var/lib/wemixvisor", &["/data/chain".to_owned()])).unwrap();
        for line in [
            "KillMode=process",
            "Delegate=yes",
            "User=wemixvisor",
            "ExecStart=/usr/local/bin/wemixvisor run",
            "ReadWritePaths=/var/lib/wemixvisor /data/chain",
            "Environment=DAEMON_HOME=/var/lib/wemixvisor DAEMON_NAME=geth",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }

    #[test]
    fn nothing_can_be_smuggled_into_the_unit() {
        let node = NodeName::new("val-1").unwrap();
        for home in
            ["relative", "/a\nExecStartPre=/bin/evil", "/a b", "/a%h", "/a/../etc", "/a\"", "/a$x", ""]
        {
            assert!(render(&spec(&node, home, &[])).is_err(), "{home:?}");
        }
        assert!(render(&spec(&node, "/ok", &["/x y".to_owned()])).is_err());
        assert!(plain_name("x", "../up").is_err() && plain_name("x", "-f").is_err());
    }
}
