//! Reading, as our own rules and the incumbents' own tests ask for it.
mod environment;
mod files;
mod sample;

use super::*;
use common::time::Span;
use std::path::Path;

type Pairs<'a> = &'a [(&'a str, &'a str)];

/// Loads a text with a home, a name and an environment.
fn loaded_in(home: &Path, text: &str, env: Pairs<'_>) -> Result<Loaded, SettingsError> {
    let flags = Flags { home: Some(home.to_owned()), name: Some("geth".into()), ..Flags::default() };
    Loaded::parse(text, &flags, &variables(env))
}

fn loaded(text: &str, env: Pairs<'_>) -> Result<Loaded, SettingsError> {
    loaded_in(Path::new("/nowhere"), text, env)
}

fn parse(text: &str, env: Pairs<'_>) -> Result<Settings, SettingsError> {
    loaded(text, env).map(|loaded| loaded.settings)
}

fn variables<'a>(env: Pairs<'a>) -> impl Fn(&str) -> Option<String> + 'a {
    move |key| env.iter().find(|(k, _)| *k == key).map(|(_, v)| (*v).to_owned())
}

/// Asserts that each part is in an error of its own.
fn errors(result: Result<Loaded, SettingsError>, parts: &[&str]) {
    let SettingsError(errors) = result.map(|l| l.settings).unwrap_err();
    for part in parts {
        assert!(errors.iter().any(|e| e.contains(part)), "{part}: {errors:#?}");
    }
    assert_eq!(errors.len(), parts.len(), "{errors:#?}");
}

#[test]
fn all_errors_come_at_once() {
    let text = "schema = 1\nnonsense = 2\n[node]\nrpx = 1\nstop = \"5\"\n[agent]\nmetrics = \"0.0.0.0:1\"\n\
                on_exit = 3\n[fleet]\nurl = \"http://10.0.0.1\"\n[trust]\nthreshold = 2\nkeys = []\n[helth]\n";
    errors(
        loaded(text, &[]),
        &[
            "nonsense is no known key",
            "[node] rpx is no known key; did you mean [node] rpc?",
            "[node] stop",
            "metrics",
            "on_exit",
            "https",
            "node is missing",
            "threshold",
            "did you mean [health]?",
        ],
    );
    let none = Settings::parse("", &Flags::default(), &|_| None).unwrap_err();
    assert_eq!(none.0.len(), 2, "{none}");
    errors(loaded("schema = 2", &[]), &["schema must be 1, not 2: the file is for a newer"]);
    errors(loaded("[node]\nstop = \"1m\"\n", &[]), &["config migrate"]);
    errors(loaded("[node", &[]), &["no TOML"]);
}

#[test]
fn flags_win_over_environment_over_file_over_default_and_each_value_knows_its_origin() {
    let text =
        "schema = 1\n[node]\nhome = \"/file\"\nname = \"file\"\nstop = \"1m\"\nrestart_delay = \"2s\"\n";
    let env: Pairs<'_> = &[("DAEMON_NAME", "env"), ("DAEMON_HOME", "/env"), ("DAEMON_SHUTDOWN_GRACE", "30s")];
    let flags = Flags { home: Some("/flag".into()), ..Flags::default() };
    let loaded = Loaded::parse(text, &flags, &variables(env)).unwrap();
    let node = &loaded.settings.node;
    assert_eq!((node.home.to_str(), node.name.as_str()), (Some("/flag"), "env"));
    assert_eq!((node.stop, node.restart_delay), (Span::secs(30), Span::secs(2)));
    for (key, origin) in [
        ("node.home", "flag --home"),
        ("node.name", "env DAEMON_NAME"),
        ("node.stop", "env DAEMON_SHUTDOWN_GRACE"),
        ("node.restart_delay", "file"),
        ("node.rpc", "default"),
    ] {
        assert_eq!(loaded.origins[key].to_string(), origin, "{key}");
    }
    assert_eq!(loaded.origins.len(), keys::all().count(), "every key has an origin");
}

#[test]
fn the_defaults_follow_the_way_it_runs() {
    let alone = parse("", &[]).unwrap();
    assert_eq!((alone.node.restart, alone.node.output), (Restart::OnFailure, Output::File));
    assert!(!alone.hooks.node_command);
    let fleet = "schema = 1\n[fleet]\nurl = \"https://a\"\nnode = \"n\"\n[trust]\n";
    let fleet = parse(fleet, &[]).unwrap();
    assert_eq!((fleet.node.restart, fleet.agent.on_exit), (Restart::Always, OnExit::Leave));
    assert_eq!((fleet.backup.before_upgrade, fleet.trust), (BackupBefore::Reflink, None));
    let flags = Flags { as_cosmovisor: true, ..Flags::default() };
    let env: Pairs<'_> = &[("DAEMON_NAME", "geth"), ("DAEMON_HOME", "/nowhere")];
    let called = Loaded::parse("", &flags, &variables(env)).unwrap();
    assert_eq!(called.origins["node.restart"].to_string(), "default (as cosmovisor)");
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("cosmovisor")).unwrap();
    let found = loaded_in(folder.path(), "", &[]).unwrap();
    for settings in [called.settings, found.settings] {
        assert_eq!((settings.node.restart, settings.node.output), (Restart::Never, Output::Inherit));
        assert!(settings.hooks.node_command);
        assert_eq!(settings.log.time, "kitchen");
    }
    std::fs::create_dir(folder.path().join("wemixvisor")).unwrap();
    let both = loaded_in(folder.path(), "", &[("DAEMON_RESTART_ON_FAILURE", "false")]).unwrap().settings;
    assert_eq!((both.node.restart, both.node.output), (Restart::Never, Output::File));
}

#[test]
fn geth_becomes_arguments_and_the_places_that_follow_from_them() {
    let text = "schema = 1\n[geth]\nnetwork_id = 1111\ndatadir = \"/chain\"\nhttp = true\n\
                http_addr = \"0.0.0.0\"\nhttp_port = 8588\nextra = [\"--x\", \"a b\"]\n";
    let geth = loaded(text, &[]).unwrap();
    let settings = &geth.settings;
    assert_eq!(
        settings.node.args,
        "--networkid 1111 --datadir /chain --http --http.addr 0.0.0.0 --http.port 8588 --x"
            .split(' ')
            .chain(["a b"])
            .collect::<Vec<_>>()
    );
    assert_eq!(settings.node.rpc, "http://127.0.0.1:8588");
    assert_eq!(settings.node.data_dir, Path::new("/chain"));
    assert_eq!(settings.upgrade.plan_file, Path::new("/chain/upgrade-info.json"));
    for key in ["node.args", "node.rpc", "node.data_dir"] {
        assert_eq!(geth.origins[key].to_string(), "section [geth]", "{key}");
    }
    let said = format!("{text}[node]\nargs = [\"--y\"]\nrpc = \"/run/geth.ipc\"\ndata_dir = \"/d\"\n");
    let node = parse(&said, &[]).unwrap().node;
    assert_eq!((node.args, node.rpc.as_str()), (vec!["--y".to_owned()], "/run/geth.ipc"));
    assert_eq!(node.data_dir, Path::new("/d"));
    let socket = parse("schema = 1\n[geth]\nipcpath = \"/run/g.ipc\"\n", &[]).unwrap();
    assert_eq!(socket.node.rpc, "/run/g.ipc");
    assert_eq!(socket.node.args, ["--datadir", "/nowhere/data", "--ipcpath", "/run/g.ipc"]);
}

#[test]
fn what_holds_beyond_types() {
    for (lines, part) in [
        ("[node]\ndata_dir = \"data\"", "[node] data_dir: the path \"data\" is not absolute"),
        ("[node]\nrpc = \"geth.ipc\"", "[node] rpc"),
        ("[node]\nrpc = \"ws://127.0.0.1:1\"", "[node] rpc"),
        ("[node]\nstop = \"0s\"", "[node] stop: it must be 1ms or more"),
        ("[node]\nmax_restarts = -1", "[node] max_restarts: a whole number"),
        ("[node]\nnetwork = \"moon\"", "mainnet, testnet, devnet"),
        ("[node]\nname = \"a/b\"\n[upgrade]\npoll = \"1ms\"", "[upgrade] poll"),
        ("[upgrade]\nskip_heights = [\"1\"]", "list of whole numbers"),
        ("[download]\nmax_bytes = \"3 loaves\"", "is no size"),
        ("[backup]\ninclude = [\"../x\"]", "[backup] include"),
        ("[hooks]\npre_upgrade = \"../evil.sh\"", "[hooks] pre_upgrade"),
        ("[hooks]\npre_upgrade = \"/bin/true\"", "[hooks] pre_upgrade"),
        ("[log]\nfilter = \"=[\"", "[log] filter"),
        ("[log]\ntime = \"noon\"", "[log] time"),
        ("[log]\nfilter = \"info\"\n[agent]\nlog = \"debug\"", "are the same key"),
        ("[webhook]\nurl = \"http://example.org/x\"", "https is needed"),
        ("[webhook]\non = [\"x\"]", "[webhook] url is missing"),
        ("[geth]\nsyncmode = \"slow\"", "[geth] syncmode"),
        ("[geth]\nhttp_port = 65536", "too large"),
        ("[geth]\nport = 0", "[geth] port: 0 must be 1 or more"),
        ("[geth]\netherbase = \"0x12\"", "40 hexadecimal digits"),
        ("[geth]\nbootnodes = [\"boot.example.org\"]", "enode://"),
        ("[node]\nnetwork = \"mainnet\"\n[geth]\nnetwork_id = 1112", "but the node is told network id 1112"),
        ("[node]\nnetwork = \"mainnet\"\nargs = [\"--dev\"]", "--dev makes a chain of its own"),
    ] {
        errors(loaded(&format!("schema = 1\n{lines}\n"), &[]), &[part]);
    }
    let text = "schema = 1\n[node]\nnetwork = \"testnet\"\nargs = [\"--unlock\", \"0\", \"--http\"]\n";
    let warned = loaded(text, &[]).unwrap().warnings;
    assert!(warned.len() == 1 && warned[0].contains("unlocked"), "{warned:?}");
    let log = parse("schema = 1\n[agent]\nlog = \"debug\"\n", &[]).unwrap().log;
    assert_eq!(log.filter, "debug");
    let sizes =
        parse("schema = 1\n[download]\nmax_bytes = \"3MiB\"\n[log]\nnode_max_bytes = 7\n", &[]).unwrap();
    assert_eq!((sizes.download.max_bytes, sizes.log.node_max_bytes), (3 << 20, 7));
}

#[test]
fn a_backup_never_holds_itself() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    for path in ["data/backups", "elsewhere"] {
        std::fs::create_dir_all(home.join(path)).unwrap();
    }
    std::os::unix::fs::symlink(home.join("data/backups"), home.join("link")).unwrap();
    let with = |dir: &str, more: &str| {
        let text = format!("schema = 1\n[backup]\ndir = \"{}\"\n{more}\n", home.join(dir).display());
        loaded_in(home, &text, &[])
    };
    for (dir, more) in [
        ("data", ""),
        ("data/backups", ""),
        ("link", ""),
        ("elsewhere", "include = [\"elsewhere\"]"),
        ("elsewhere", "include = [\".\"]"),
    ] {
        errors(with(dir, more), &["a backup would hold itself"]);
        let never = format!("{more}\nbefore_upgrade = \"never\"");
        assert!(with(dir, &never).is_ok(), "{dir} {more}: nothing is saved");
    }
    assert!(with("elsewhere", "").is_ok());
    assert!(loaded_in(home, "", &[]).is_ok(), "the home itself is the default");
    errors(with("nowhere", ""), &["is no folder"]);
}
