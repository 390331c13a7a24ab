//! Everything the agent is told, by section of the settings file.
use super::geth::GethSettings;
use common::id::NodeName;
use common::manifest::TrustRoot;
use common::time::Span;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Everything the agent is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The chain client.
    pub node: NodeSettings,
    /// The chain client's own configuration; where `node.args` says nothing it becomes that.
    pub geth: GethSettings,
    /// Upgrades that this host decides.
    pub upgrade: UpgradeSettings,
    /// Fetching of releases that a plan names by URL.
    pub download: DownloadSettings,
    /// Backups.
    pub backup: BackupSettings,
    /// Programs run around an upgrade.
    pub hooks: HookSettings,
    /// When a node counts as unhealthy.
    pub health: HealthSettings,
    /// The node's output and the agent's own.
    pub log: LogSettings,
    /// The supervisor itself.
    pub agent: AgentSettings,
    /// Whom events are told to.
    pub webhook: Option<WebhookSettings>,
    /// Coordinator and name in the fleet.
    pub fleet: Option<(String, NodeName)>,
    /// Whom this host believes.
    pub trust: Option<TrustRoot>,
}

/// `[node]`: the chain client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSettings {
    /// `DAEMON_HOME`, absolute.
    pub home: PathBuf,
    /// `DAEMON_NAME`: file name of the chain client.
    pub name: String,
    /// Arguments of the node when the command line gives none: `[node] args`, else what `[geth]` renders to.
    pub args: Vec<String>,
    /// JSON-RPC of the node: `http://…`, `https://…`, or the absolute path of its IPC socket.
    pub rpc: String,
    /// Its data, where the plan file and what backups hold is; `HOME/data` unless set.
    pub data_dir: PathBuf,
    /// The network whose rules the settings are held to: `mainnet`, `testnet`, `devnet`.
    pub network: Option<String>,
    /// Whether the node seals blocks.
    pub validator: bool,
    /// From SIGTERM to SIGKILL.
    pub stop: Span,
    /// Pause between the end of the node and what follows in an upgrade.
    pub restart_delay: Span,
    /// What its end means.
    pub restart: Restart,
    /// Exits without a healthy stretch between them after which the agent gives up; 0 is never.
    pub max_restarts: u32,
    /// Where its output goes.
    pub output: Output,
    /// Variant of the build to take from a manifest.
    pub variant: Option<String>,
}

/// What the end of a node that nobody asked for means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// It is started again.
    Always,
    /// It is started again unless it ended with 0; then the agent ends too.
    OnFailure,
    /// The agent ends with its exit code (cosmovisor's way).
    Never,
}

/// Where the node's output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// A file in the home, rotated by the agent.
    File,
    /// The agent's own standard output and error (cosmovisor's way; journals, containers).
    Inherit,
}

/// `[upgrade]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpgradeSettings {
    /// Whether plans of this host are followed at all.
    pub enabled: bool,
    /// Whether they are followed although the host is in a fleet.
    pub in_fleet: bool,
    /// How often the plan files are looked at while the kernel does not tell of changes.
    pub poll: Span,
    /// The plan file; `DATA_DIR/upgrade-info.json` unless set.
    pub plan_file: PathBuf,
    /// Whether the node is started after a switch; otherwise the agent ends with 0.
    pub restart_after: bool,
    /// Whether names of plans are put in lower case.
    pub recase: bool,
    /// Whether a release that does not get healthy is left again.
    pub rollback: bool,
    /// From exec to a process that stays.
    pub start_within: Span,
    /// From exec to an answering RPC whose head advances.
    pub rpc_within: Span,
    /// How long a head that stands one block before the height must stand for the chain to count as halted there.
    pub halted_after: Span,
    /// Heights whose plans are passed over.
    pub skip_heights: Vec<u64>,
}

/// `[download]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownloadSettings {
    /// Whether a release that a plan names by URL is fetched.
    pub allowed: bool,
    /// Largest file accepted, in bytes, also unpacked.
    pub max_bytes: u64,
    /// Whether plain http is accepted beyond loopback.
    pub http: bool,
    /// Whether private, link-local and loopback addresses are accepted.
    pub private: bool,
    /// Further CA certificates (PEM) for downloads.
    pub ca: Option<PathBuf>,
    /// Give up after this long.
    pub within: Span,
}

/// `[backup]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupSettings {
    /// Whether one is made before a switch.
    pub before_upgrade: BackupBefore,
    /// Where they are kept; the home unless set.
    pub dir: PathBuf,
    /// What is saved, relative to the home or absolute below it; empty is the data folder.
    pub include: Vec<String>,
    /// Patterns of paths that are left out.
    pub exclude: Vec<String>,
    /// Whether keys (`nodekey`, `keystore`, …) are saved too.
    pub keys: bool,
    /// How many are kept; 0 is all.
    pub keep: u32,
    /// Older ones are removed; zero is never.
    pub max_age: Span,
}

/// When a backup is made before a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupBefore {
    /// Always; without it there is no switch.
    Always,
    /// When the file system can share the blocks (reflink), so that it costs next to nothing.
    Reflink,
    /// Never.
    Never,
}

/// `[hooks]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookSettings {
    /// Script before every switch: a file in the supervisor's folder, argv name and height.
    pub pre_upgrade: Option<String>,
    /// Whether `<new binary> pre-upgrade` is run (exit codes 0, 1, 30, 31).
    pub node_command: bool,
    /// How long each may take.
    pub timeout: Span,
    /// How often a hook that asks for it (31) is run again.
    pub retries: u32,
}

/// `[health]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthSettings {
    /// Time between looks at a settled node.
    pub every: Span,
    /// Oldest head of a healthy node.
    pub head_age: Span,
    /// Fewest peers of a healthy node.
    pub min_peers: u32,
    /// Least free space of a healthy node, in bytes.
    pub min_disk_bytes: u64,
    /// RPC may be silent for this long before the node is unhealthy.
    pub rpc_silence: Span,
    /// A node whose RPC stays silent for this long is restarted; zero is never.
    pub recover_after: Span,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// Filter of the agent's own log; `off` silences it.
    pub filter: String,
    /// Its form.
    pub format: LogFormat,
    /// Whether it is coloured; only on a terminal unless forced.
    pub color: Option<bool>,
    /// Form of its times: `rfc3339`, `kitchen`, …, or empty for none.
    pub time: String,
    /// The node's output; `node.log` in the supervisor's folder unless set.
    pub node_file: PathBuf,
    /// Size at which it is rotated, in bytes; 0 is never.
    pub node_max_bytes: u64,
    /// Rotated files kept.
    pub node_keep: u32,
}

/// Form of the agent's own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// A JSON object a line.
    Json,
}

/// `[agent]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentSettings {
    /// What the end of the agent does to the node.
    pub on_exit: OnExit,
    /// Where metrics are served; always loopback.
    pub metrics: Option<SocketAddr>,
}

/// What SIGTERM and SIGINT to the agent do to the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExit {
    /// Stop it and wait for it.
    Stop,
    /// Leave it running; the next agent adopts it.
    Leave,
}

/// `[webhook]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookSettings {
    /// Where events are posted to.
    pub url: String,
    /// File with the secret for the `X-Wemixvisor-Signature` header (HMAC-SHA256).
    pub secret_file: Option<PathBuf>,
    /// Which events; empty is all.
    pub on: Vec<String>,
}

impl Settings {
    /// The defaults of a home.
    pub fn of(home: PathBuf, name: String) -> Settings {
        let root = crate::home::Home::new(home.clone(), name.clone()).root().to_owned();
        let data_dir = home.join("data");
        Settings {
            upgrade: UpgradeSettings::of(data_dir.join("upgrade-info.json")),
            backup: BackupSettings::of(home.clone()),
            log: LogSettings::of(root.join("node.log")),
            node: NodeSettings {
                home,
                name,
                args: Vec::new(),
                rpc: "http://127.0.0.1:8545".to_owned(),
                data_dir,
                network: None,
                validator: false,
                stop: Span::mins(5),
                restart_delay: Span::ZERO,
                restart: Restart::OnFailure,
                max_restarts: 0,
                output: Output::File,
                variant: None,
            },
            geth: GethSettings::default(),
            download: DownloadSettings {
                allowed: false,
                max_bytes: 1 << 30,
                http: false,
                private: false,
                ca: None,
                within: Span::mins(30),
            },
            hooks: HookSettings {
                pre_upgrade: None,
                node_command: false,
                timeout: Span::mins(5),
                retries: 0,
            },
            health: HealthSettings {
                every: Span::secs(2),
                head_age: Span::secs(60),
                min_peers: 1,
                min_disk_bytes: 1 << 30,
                rpc_silence: Span::secs(30),
                recover_after: Span::ZERO,
            },
            agent: AgentSettings { on_exit: OnExit::Stop, metrics: None },
            webhook: None,
            fleet: None,
            trust: None,
        }
    }

    /// Where everything is.
    pub fn layout(&self) -> crate::home::Home {
        crate::home::Home::new(self.node.home.clone(), self.node.name.clone())
    }
}

impl UpgradeSettings {
    fn of(plan_file: PathBuf) -> UpgradeSettings {
        UpgradeSettings {
            enabled: true,
            in_fleet: false,
            poll: Span(300),
            plan_file,
            restart_after: true,
            recase: true,
            rollback: true,
            start_within: Span::mins(2),
            rpc_within: Span::mins(3),
            halted_after: Span::secs(30),
            skip_heights: Vec::new(),
        }
    }
}

impl BackupSettings {
    fn of(dir: PathBuf) -> BackupSettings {
        BackupSettings {
            before_upgrade: BackupBefore::Always,
            dir,
            include: Vec::new(),
            exclude: Vec::new(),
            keys: false,
            keep: 3,
            max_age: Span::ZERO,
        }
    }
}

impl LogSettings {
    fn of(node_file: PathBuf) -> LogSettings {
        LogSettings {
            filter: "info".to_owned(),
            format: LogFormat::Text,
            color: None,
            time: "rfc3339".to_owned(),
            node_file,
            node_max_bytes: 64 << 20,
            node_keep: 5,
        }
    }
}
