//! `wemixvisor config`, from outside.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const AGENT: &str = env!("CARGO_BIN_EXE_wemixvisor");

/// A home without a node.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new(root: &str) -> Place {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(root)).unwrap();
        Place { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self) -> PathBuf {
        self.path("wemixvisor/wemixvisor.toml")
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    fn with(&self, args: &[&str], env: &[(&str, &str)]) -> Output {
        let mut command = Command::new(AGENT);
        command.env_clear().env("DAEMON_HOME", self.folder.path()).env("DAEMON_NAME", "geth");
        command.envs(env.iter().copied()).arg("config").args(args).current_dir(self.folder.path());
        command.output().unwrap()
    }

    /// Standard output of a call that succeeds.
    fn good(&self, args: &[&str]) -> String {
        let said = self.with(args, &[]);
        assert!(said.status.success(), "{args:?}: {said:?}");
        String::from_utf8(said.stdout).unwrap()
    }

    /// Standard error of a call that fails with 1 and prints nothing.
    fn bad(&self, args: &[&str]) -> String {
        let said = self.with(args, &[]);
        assert_eq!(said.status.code(), Some(1), "{args:?}: {said:?}");
        assert_eq!(String::from_utf8_lossy(&said.stdout), "", "{args:?}");
        String::from_utf8(said.stderr).unwrap()
    }

    fn copies(&self, folder: &str) -> Vec<String> {
        let names = std::fs::read_dir(self.path(folder)).unwrap().flatten();
        let names = names.map(|e| e.file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.contains(".bak-")).collect();
        names.sort();
        names
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn show_tells_values_origins_and_no_secret() {
    let place = Place::new("wemixvisor");
    let text = "schema = 1\n[node]\nstop = \"7m\"\nargs = [\"--nodekeyhex\", \"c0ffee\"]\n\
                [webhook]\nurl = \"https://hooks.example.org/T0/s3cret\"\n";
    let file = place.write("wemixvisor/wemixvisor.toml", text);
    let table = place.good(&["show", "--origin"]);
    let row = |key: &str| table.lines().find(|line| line.starts_with(&format!("{key} "))).unwrap().to_owned();
    assert!(row("node.stop").ends_with(&format!("file {}", file.display())), "{table}");
    assert!(row("node.name").ends_with("env DAEMON_NAME"), "{table}");
    assert!(row("upgrade.poll").contains("300ms") && row("upgrade.poll").ends_with("default"), "{table}");
    for output in ["table", "json", "toml"] {
        let shown = place.good(&["show", "-o", output]);
        assert!(!shown.contains("c0ffee") && !shown.contains("s3cret"), "{output}: {shown}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&place.good(&["show", "-o", "json", "--origin"])).unwrap();
    assert_eq!(json["node"]["stop"]["value"], "7m");
    assert_eq!(json["node"]["network"]["value"], serde_json::Value::Null);
    let json: serde_json::Value = serde_json::from_str(&place.good(&["show", "-o", "json"])).unwrap();
    assert_eq!(json["log"]["node_max_bytes"], 64 << 20);
    let shown = place.write("shown.toml", &place.good(&["show", "-o", "toml"]));
    assert!(place.good(&["validate", shown.to_str().unwrap()]).ends_with("valid\n"));
    let mut flag = Command::new(AGENT);
    flag.args(["--home", "/elsewhere", "--name", "x", "config", "show", "--origin"]);
    let flag = flag.env_clear().output().unwrap();
    assert!(String::from_utf8_lossy(&flag.stdout).contains("flag --home"), "{flag:?}");
}

#[test]
fn set_changes_one_key_and_nothing_else() {
    let place = Place::new("wemixvisor");
    let text = "# mine\nschema = 1\n\n[node] # the node\n# patient\nstop = \"7m\" # minutes\n\n[agent]\nlog = \"info\"\n";
    place.write("wemixvisor/wemixvisor.toml", text);
    std::fs::set_permissions(place.file(), std::fs::Permissions::from_mode(0o604)).unwrap();
    let said = place.good(&["set", "node.stop", "30s"]);
    assert_eq!(said, "node.stop: 7m -> 30s\na running agent takes it over by reload (SIGHUP)\n");
    assert_eq!(read(&place.file()), text.replace("\"7m\"", "\"30s\""), "comments stay");
    assert_eq!(place.file().metadata().unwrap().permissions().mode() & 0o777, 0o604, "so does the mode");
    assert!(place.good(&["set", "log.filter", "debug"]).contains("log.filter: info -> debug"));
    assert!(read(&place.file()).contains("log = \"debug\""), "an older name stays where it stands");
    let said = place.good(&["set", "geth.http_api", "eth,net"]);
    assert!(said.contains("nothing -> eth net") && said.contains("restart of the node"), "{said}");
    assert!(read(&place.file()).contains("[geth]\nhttp_api = [\"eth\", \"net\"]\n"));
    assert!(place.good(&["set", "node.args", "--datadir /x --http"]).contains("--datadir /x --http"));
    assert!(place.good(&["set", "agent.metrics", "127.0.0.1:9"]).contains("restart of the agent"));
    assert!(place.good(&["set", "log.node_max_bytes", "1GiB"]).contains("64MiB -> 1GiB"));
    assert!(place.good(&["set", "--unset", "node.args"]).contains("--datadir /x --http -> "));
    assert!(!read(&place.file()).contains("args ="));
    let stronger = place.with(&["set", "node.stop", "9s"], &[("DAEMON_SHUTDOWN_GRACE", "1m")]);
    let told = String::from_utf8(stronger.stderr).unwrap();
    assert!(stronger.status.success() && told.contains("env DAEMON_SHUTDOWN_GRACE is stronger"), "{told}");
}

#[test]
fn set_writes_nothing_that_would_not_work() {
    let place = Place::new("wemixvisor");
    assert!(place.bad(&["set", "node.stopp", "1s"]).contains("did you mean [node] stop?"));
    assert!(place.bad(&["set", "node.stop", "soon"]).matches("is no length of time").count() == 1);
    assert!(place.bad(&["set", "agent.metrics", "0.0.0.0:9"]).contains("no loopback address"));
    assert!(place.bad(&["set", "download.allowed", "yes"]).contains("neither true nor false"));
    assert!(place.bad(&["set", "backup.dir", "/no/such/folder"]).contains("is no folder"));
    assert!(!place.file().exists(), "there was no file and there is none");
    assert!(place.good(&["set", "node.network", "mainnet"]).contains("nothing -> mainnet"));
    assert_eq!(read(&place.file()), "schema = 1\n\n[node]\nnetwork = \"mainnet\"\n");
    let before = read(&place.file());
    assert!(place.bad(&["set", "geth.network_id", "1112"]).contains("1111"));
    assert_eq!(read(&place.file()), before);
    let real = place.write("real.toml", &before);
    std::fs::remove_file(place.file()).unwrap();
    std::os::unix::fs::symlink(&real, place.file()).unwrap();
    place.good(&["set", "node.network", "testnet"]);
    assert!(place.file().is_symlink() && read(&real).contains("testnet"), "a link stays one");
    place.write("wemixvisor/wemixvisor.toml", "home = '/v0'\nmax_restarts = 5.0\n");
    assert!(place.bad(&["set", "node.stop", "1s"]).contains("config migrate"));
}

#[test]
fn validate_tells_all_errors_at_once() {
    let place = Place::new("wemixvisor");
    assert!(place.good(&["validate"]).contains("valid"));
    let bad = place.write("bad.toml", "schema = 1\n[node]\nstop = 5\nrcp = \"x\"\n[geth]\nport = 99999\n");
    let told = place.bad(&["validate", bad.to_str().unwrap()]);
    for part in ["3 errors", "[node] stop", "did you mean [node] rpc?", "[geth] port", "bad.toml"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(place.bad(&["validate", "absent.toml"]).contains("absent.toml"));
    let risky = "schema = 1\n[node]\nnetwork = \"mainnet\"\n[geth]\nhttp = true\nhttp_addr = \"0.0.0.0\"\n\
                 http_api = [\"admin\"]\nextra = [\"--dev\"]\n";
    let risky = place.write("risky.toml", risky);
    let told = place.bad(&["validate", risky.to_str().unwrap()]);
    assert!(told.contains("--dev") && told.contains("admin"), "{told}");
    std::fs::remove_dir(place.path("wemixvisor")).unwrap();
    assert!(place.bad(&["validate"]).contains("wemixvisor init"));
    let env = [("WEMIXVISOR_NODE_NETWORK", "devnet"), ("WEMIXVISOR_NODE_STOPP", "1s")];
    let warned = place.with(&["validate", risky.to_str().unwrap()], &env);
    let told = String::from_utf8(warned.stderr).unwrap();
    assert!(warned.status.success() && told.contains("warning: --http.addr 0.0.0.0"), "{told}");
    assert!(told.contains("warning: WEMIXVISOR_NODE_STOPP is no known variable"), "{told}");
}

#[test]
fn templates_are_printed_written_and_ones_own() {
    let place = Place::new("wemixvisor");
    let list = place.good(&["template", "--list"]);
    for name in ["mainnet", "testnet", "devnet", "validator", "rpc", "archive"] {
        assert!(list.lines().any(|line| line.starts_with(name)), "{name}: {list}");
        let file = place.write("wemixvisor/wemixvisor.toml", &place.good(&["template", name]));
        assert!(place.good(&["validate"]).contains(file.to_str().unwrap()), "{name}");
        assert!(place.good(&["show"]).contains("node.args"), "{name} becomes arguments");
    }
    let out = place.path("out.toml");
    place.good(&["template", "devnet", "--out", out.to_str().unwrap()]);
    assert_eq!(read(&out), place.good(&["template", "devnet"]));
    assert!(place.bad(&["template", "rpc", "--out", out.to_str().unwrap()]).contains("out.toml"));
    assert_eq!(read(&out), place.good(&["template", "devnet"]), "what is there is never replaced");
    assert!(place.bad(&["template", "moonnet"]).contains("archive"));
    std::fs::create_dir(place.path("wemixvisor/templates")).unwrap();
    place.write("wemixvisor/templates/ours.toml", "# Ours: as we like it.\nschema = 1\n");
    assert!(place.good(&["template", "--list"]).contains("Ours: as we like it."));
    assert!(place.good(&["template", "ours"]).starts_with("# Ours"));
    place.write("wemixvisor/templates/broken.toml", "schema = 1\n[nodes]\n");
    assert!(place.bad(&["template", "broken"]).contains("did you mean [node]?"));
    place.write("by-path.toml", "schema = 1\n");
    assert_eq!(place.good(&["template", "./by-path.toml"]), "schema = 1\n");
}

#[test]
fn a_flat_file_is_migrated_in_its_place_and_kept() {
    let place = Place::new("wemixvisor");
    let old = format!(
        "home = '{}'\nname = 'geth'\nmax_restarts = 5.0\nhealth_check_interval = 30000000000.0\n\
         metrics_enabled = true\n",
        place.folder.path().display()
    );
    place.write("wemixvisor/wemixvisor.toml", &old);
    let before = place.good(&["show"]);
    assert!(before.contains("30s"), "it is read as it is: {before}");
    let dry = place.good(&["migrate", "--dry-run"]);
    assert!(dry.contains("every = \"30s\"") && read(&place.file()) == old, "{dry}");
    let said = place.with(&["migrate"], &[]);
    let told = String::from_utf8(said.stderr).unwrap();
    assert!(said.status.success() && told.contains("metrics_enabled left out:"), "{told}");
    assert_eq!(read(&place.file()), dry);
    assert_eq!(place.good(&["show"]), before, "nothing else changes");
    let copies = place.copies("wemixvisor");
    assert_eq!(copies.len(), 1, "{copies:?}");
    assert_eq!(read(&place.path("wemixvisor").join(&copies[0])), old);
    assert!(place.bad(&["migrate"]).contains("schema 1 already"));
    place.write("wemixvisor/wemixvisor.toml", "[node]\nstop = \"3m\"\n");
    place.good(&["migrate"]);
    assert_eq!(read(&place.file()), "schema = 1\n[node]\nstop = \"3m\"\n");
    let copies = place.copies("wemixvisor");
    assert_eq!(copies.len(), 2, "no copy is written over: {copies:?}");
    place.write("wemixvisor/wemixvisor.toml", "max_restarts = 'many'\nhealth_check_interval = 'x'\n");
    let told = place.bad(&["migrate"]);
    assert!(told.contains("max_restarts") && told.contains("health_check_interval"), "{told}");
    assert_eq!(place.copies("wemixvisor"), copies, "a refused file is not touched");
}

#[test]
fn cosmovisors_file_becomes_ours_and_stays() {
    let place = Place::new("cosmovisor");
    let old = format!(
        "daemon_home = '{}'\ndaemon_name = 'geth'\ndaemon_poll_interval = 300000000\n\
         daemon_grpc_address = 'localhost:9090'\ndaemon_preupgrade_max_retries = 4\n",
        place.folder.path().display()
    );
    let theirs = place.write("cosmovisor/config.toml", &old);
    let ours = place.path("cosmovisor/wemixvisor.toml");
    let said = place.good(&["migrate"]);
    assert_eq!(said, format!("{}\n", ours.display()));
    assert_eq!(read(&theirs), old, "cosmovisor can be gone back to");
    assert!(read(&ours).contains("[hooks]\nretries = 4\n"), "{}", read(&ours));
    assert!(read(&ours).contains("#   daemon_grpc_address: "), "{}", read(&ours));
    let told = place.bad(&["migrate", "--from", theirs.to_str().unwrap()]);
    assert!(told.contains("is there already"), "{told}");
    let named = place.write("named.toml", &old.replace("= 4", "= 6"));
    std::fs::remove_file(&ours).unwrap();
    place.good(&["migrate", "--from", named.to_str().unwrap()]);
    assert!(read(&ours).contains("retries = 6"));
    assert!(place.bad(&["migrate", "--from", "absent.toml"]).contains("absent.toml"));
}

#[test]
fn alone_it_lists_cosmovisors_names() {
    let place = Place::new("cosmovisor");
    let home = place.folder.path().display().to_string();
    let listing = place.good(&[]);
    for line in [
        "Configurable Values:",
        &format!("  DAEMON_HOME: {home}"),
        "  DAEMON_NAME: geth",
        "  DAEMON_ALLOW_DOWNLOAD_BINARIES: false",
        "  DAEMON_RESTART_AFTER_UPGRADE: true",
        "  DAEMON_POLL_INTERVAL: 300ms",
        "  UNSAFE_SKIP_BACKUP: false",
        "  DAEMON_PREUPGRADE_MAX_RETRIES: 0",
        "  COSMOVISOR_DISABLE_LOGS: false",
        "  COSMOVISOR_TIMEFORMAT_LOGS: kitchen",
        "  COSMOVISOR_DISABLE_RECASE: false",
        "Derived Values:",
        &format!("  Root Dir: {home}/cosmovisor"),
        &format!("  Upgrade Dir: {home}/cosmovisor/upgrades"),
        &format!("  Genesis Bin: {home}/cosmovisor/genesis/bin/geth"),
        &format!("  Monitored File: {home}/data/upgrade-info.json"),
        &format!("  Data Backup Dir: {home}"),
    ] {
        assert!(listing.lines().any(|l| l == line), "{line}: {listing}");
    }
    let bad = place.with(&[], &[("DAEMON_POLL_INTERVAL", "0"), ("UNSAFE_SKIP_BACKUP", "1")]);
    let told = String::from_utf8(bad.stderr).unwrap();
    assert!(bad.status.code() == Some(1) && told.contains("2 errors"), "{told}");
}
