//! The rows of every section but `[geth]`.
use super::key::{Draft, Key, Reload, keys};

/// The rows of `[node]`.
pub(super) static NODE: &[Key] = keys! {
    "node" "home" Agent (settings.node.home) ["WEMIXVISOR_HOME" Ours, "DAEMON_HOME" Theirs]
        "/var/lib/node" ""
        "The node's own folder, absolute (also --home). Usually given by the unit or the command line.";
    "node" "name" Agent (settings.node.name) ["WEMIXVISOR_NAME" Ours, "DAEMON_NAME" Theirs]
        "geth" ""
        "File name of the chain client (also --name).";
    "node" "args" Node (settings.node.args) []
        "--datadir,/var/lib/node/data,--http" ""
        "Arguments of the chain client when `wemixvisor run` is given none. Without them `[geth]` counts.";
    "node" "rpc" Agent (settings.node.rpc) ["WEMIXVISOR_RPC" Ours, "WEMIXVISOR_RPC_ADDRESS" Address, "DAEMON_RPC_ADDRESS" Address]
        "" "http://127.0.0.1:8545, or what `[geth]` serves"
        "Where the node answers JSON-RPC: a URL, or the absolute path of its IPC socket. admin and istanbul modules make the report richer.";
    "node" "data_dir" Agent (settings.node.data_dir) ["DAEMON_DATA_DIR" Theirs]
        "" "HOME/data, or `[geth] datadir`"
        "The node's data: where the plan file is, and what backups hold.";
    "node" "network" Live (settings.node.network) ["DAEMON_NETWORK" Theirs]
        "mainnet" ""
        "Whose rules the settings are held to: mainnet, testnet, devnet.";
    "node" "validator" Live (settings.node.validator) ["VALIDATOR_MODE" Theirs]
        "" ""
        "Whether the node seals blocks.";
    "node" "stop" Live (settings.node.stop) ["WEMIXVISOR_STOP" Ours, "DAEMON_SHUTDOWN_GRACE" Theirs]
        "" ""
        "From SIGTERM to SIGKILL. geth may flush its state for minutes. Upgrades of a fleet use the limit of their instruction.";
    "node" "restart_delay" Live (settings.node.restart_delay) ["DAEMON_RESTART_DELAY" Theirs]
        "" ""
        "Pause between the end of the node and what follows in an upgrade.";
    "node" "restart" Live (settings.node.restart) ["DAEMON_RESTART_ON_FAILURE" OnFailure]
        "" "on-failure; always in a fleet; never as cosmovisor"
        "What the end of a node that nobody asked for means: always and on-failure (not after exit code 0) start it again, never ends the agent with its exit code.";
    "node" "max_restarts" Live (settings.node.max_restarts) ["DAEMON_MAX_RESTARTS" Theirs]
        "" ""
        "Restarts without a healthy stretch between them after which the agent gives up; 0 is never.";
    "node" "output" Node (settings.node.output) []
        "" "file; inherit as cosmovisor"
        "Where the node's output goes: file (in the home, rotated, survives the agent) or inherit (the agent's own output, for journals and containers).";
    "node" "variant" Live (settings.node.variant) []
        "rocksdb" ""
        "Variant of the build to take from a release's manifest, for example the database engine.";
};

/// The rows of the supervisor's own sections.
pub(super) static SUPERVISOR: &[Key] = keys! {
    "upgrade" "enabled" Live (settings.upgrade.enabled) ["DAEMON_UPGRADE_ENABLED" Theirs]
        "" ""
        "Whether plans of this host (plan file, batch, schedule) are followed.";
    "upgrade" "in_fleet" Live (settings.upgrade.in_fleet) []
        "" ""
        "Whether they are followed although the host is in a fleet.";
    "upgrade" "poll" Live (settings.upgrade.poll) ["DAEMON_POLL_INTERVAL" Theirs]
        "" ""
        "How often the plan files are looked at while the kernel does not tell of changes; 10ms or more.";
    "upgrade" "plan_file" Agent (settings.upgrade.plan_file) []
        "" "DATA_DIR/upgrade-info.json"
        "The plan file, absolute.";
    "upgrade" "restart_after" Live (settings.upgrade.restart_after) ["DAEMON_RESTART_AFTER_UPGRADE" Theirs]
        "" ""
        "Whether the node is started after a switch; otherwise the agent ends with 0.";
    "upgrade" "recase" Live (settings.upgrade.recase) ["COSMOVISOR_DISABLE_RECASE" Not]
        "" ""
        "Whether names of plans are put in lower case.";
    "upgrade" "rollback" Live (settings.upgrade.rollback) []
        "" ""
        "Whether a release that does not get healthy in time is left again, where that is still allowed.";
    "upgrade" "start_within" Live (settings.upgrade.start_within) []
        "" ""
        "From the start of a new release to a process that stays.";
    "upgrade" "rpc_within" Live (settings.upgrade.rpc_within) []
        "" ""
        "From the start of a new release to an answering RPC whose head advances.";
    "upgrade" "halted_after" Live (settings.upgrade.halted_after) []
        "" ""
        "How long a head one block before the height must stand still for the chain to count as halted there.";
    "upgrade" "skip_heights" Live (settings.upgrade.skip_heights) []
        "1200000" ""
        "Heights whose plans are passed over.";
    "download" "allowed" Live (settings.download.allowed) ["DAEMON_ALLOW_DOWNLOAD_BINARIES" Theirs]
        "" ""
        "Whether a release that a plan names by URL is fetched. Its checksum is always needed.";
    "download" "max_bytes" Live (settings.download.max_bytes) []
        "" ""
        "Largest file accepted, also unpacked.";
    "download" "http" Live (settings.download.http) []
        "" ""
        "Whether plain http is accepted beyond loopback.";
    "download" "private" Live (settings.download.private) []
        "" ""
        "Whether private, link-local and loopback addresses are accepted.";
    "download" "ca" Live (settings.download.ca) []
        "/etc/ssl/internal-ca.pem" ""
        "Further CA certificates (PEM) for downloads, absolute.";
    "download" "within" Live (settings.download.within) []
        "" ""
        "Longest time for one download.";
    "backup" "before_upgrade" Live (settings.backup.before_upgrade) ["UNSAFE_SKIP_BACKUP" SkipBackup]
        "" "always; reflink in a fleet"
        "Whether a backup is made before a switch: always (without it there is no switch), reflink (when the file system shares the blocks), never.";
    "backup" "dir" Live (settings.backup.dir) ["DAEMON_DATA_BACKUP_DIR" Theirs, "DAEMON_BACKUP_DATA_DIR" Theirs]
        "" "HOME"
        "Where backups are kept: an absolute folder that is there, outside of what it saves.";
    "backup" "include" Live (settings.backup.include) []
        "data/geth" ""
        "What is saved, relative to the home or absolute below it; nothing said is the data folder.";
    "backup" "exclude" Live (settings.backup.exclude) []
        "*.lock,geth/nodes" ""
        "Patterns of paths that are left out.";
    "backup" "keys" Live (settings.backup.keys) []
        "" ""
        "Whether keys (nodekey, keystore) are saved too.";
    "backup" "keep" Live (settings.backup.keep) []
        "" ""
        "How many are kept; 0 is all.";
    "backup" "max_age" Live (settings.backup.max_age) []
        "" ""
        "Older ones are removed; 0s is never.";
    "hooks" "pre_upgrade" Live (settings.hooks.pre_upgrade) ["COSMOVISOR_CUSTOM_PREUPGRADE" Theirs]
        "pre-upgrade.sh" ""
        "Script before every switch: a file in the supervisor's folder; it is given name and height.";
    "hooks" "node_command" Live (settings.hooks.node_command) []
        "" "false; true as cosmovisor"
        "Whether `<new release> pre-upgrade` is run before a switch (exit codes 0, 1, 30, 31).";
    "hooks" "timeout" Live (settings.hooks.timeout) []
        "" ""
        "How long each hook may take.";
    "hooks" "retries" Live (settings.hooks.retries) ["DAEMON_PREUPGRADE_MAX_RETRIES" Theirs]
        "" ""
        "How often a hook that asks for it (exit code 31) is run again.";
    "health" "every" Live (settings.health.every) ["DAEMON_HEALTH_CHECK_INTERVAL" Theirs]
        "" ""
        "Time between looks at a settled node.";
    "health" "head_age" Live (settings.health.head_age) []
        "" ""
        "Oldest head of a healthy node.";
    "health" "min_peers" Live (settings.health.min_peers) []
        "" ""
        "Fewest peers of a healthy node.";
    "health" "min_disk_bytes" Live (settings.health.min_disk_bytes) []
        "" ""
        "Least free space of a healthy node.";
    "health" "rpc_silence" Live (settings.health.rpc_silence) []
        "" ""
        "How long RPC may be silent before the node is unhealthy.";
    "health" "recover_after" Live (settings.health.recover_after) []
        "" ""
        "A node whose RPC is silent for this long is restarted; 0s is never.";
    "log" "filter" Live (settings.log.filter) ["WEMIXVISOR_LOG" Ours, "WEMIXVISOR_LOG_LEVEL" Ours, "COSMOVISOR_DISABLE_LOGS" Silence, "DAEMON_DEBUG" Debug]
        "" ""
        "What the agent logs: error, warn, info, debug, trace, off; also per part of it. `[agent] log` is the same key.";
    "log" "format" Agent (settings.log.format) []
        "" ""
        "Form of the agent's log.";
    "log" "color" Agent (settings.log.color) ["COSMOVISOR_COLOR_LOGS" Theirs]
        "true" "true on a terminal"
        "Whether it is coloured.";
    "log" "time" Agent (settings.log.time) ["COSMOVISOR_TIMEFORMAT_LOGS" TimeFormat]
        "" "rfc3339; kitchen as cosmovisor"
        "Form of its times: ansic, unixdate, rubydate, rfc822, rfc822z, rfc850, rfc1123, rfc1123z, rfc3339, rfc3339nano, kitchen, layout; an empty text is none.";
    "log" "node_file" Node (settings.log.node_file) ["DAEMON_LOG_FILE" Theirs]
        "" "node.log in the supervisor's folder"
        "The node's output, an absolute file.";
    "log" "node_max_bytes" Live (settings.log.node_max_bytes) []
        "" ""
        "Size at which it is rotated; 0 is never.";
    "log" "node_keep" Live (settings.log.node_keep) []
        "" ""
        "Rotated files kept.";
    "agent" "on_exit" Live (settings.agent.on_exit) ["WEMIXVISOR_ON_EXIT" Ours]
        "" "stop; leave in a fleet"
        "What SIGTERM and SIGINT to the agent do to the node: stop stops it and waits for it, leave leaves it running and the next agent adopts it.";
    "agent" "metrics" Agent (settings.agent.metrics) ["WEMIXVISOR_METRICS" Ours]
        "127.0.0.1:7490" ""
        "Prometheus metrics on a loopback address. Off without this key.";
    "webhook" "url" Agent (webhook_url) []
        "https://hooks.example.org/wemixvisor" ""
        "Where events are posted to; https, or http on loopback.";
    "webhook" "secret_file" Agent (webhook_secret) []
        "/etc/wemixvisor/webhook.key" ""
        "File with the secret that events are signed with (X-Wemixvisor-Signature, HMAC-SHA256), absolute.";
    "webhook" "on" Agent (webhook_on) []
        "node_crashed,upgrade_failed" ""
        "Which events; nothing said is all.";
    "fleet" "url" Agent (fleet_url) []
        "https://fleet.example.org:7443" ""
        "The coordinator. `wemixvisor enroll` writes it down by itself; this section overrides it.";
    "fleet" "node" Agent (fleet_node) []
        "val-01" ""
        "This node's name in the fleet.";
    "trust" "threshold" Agent (trust_threshold) []
        "2" ""
        "How many of the maintainers must sign a release.";
    "trust" "keys" Agent (trust_keys) []
        "RWQ...,RWQ...,RWQ..." ""
        "The maintainers this host believes: minisign public keys.";
};
