//! The environment of cosmovisor and of wemixvisor v0.x, with their parsing.
use super::*;

/// A look at one value.
type Look = fn(&Settings) -> String;

fn check(variable: &str, cases: &[(&str, Option<&str>)], look: Look) {
    for (text, expected) in cases {
        let said = loaded("", &[(variable, text)]);
        match expected {
            Some(expected) => assert_eq!(look(&said.unwrap().settings), *expected, "{variable}={text:?}"),
            None => errors(said, &[&format!("(env {variable})")]),
        }
    }
}

#[test]
fn booleans_are_strict_in_any_case() {
    let with = |default: &'static str| {
        [
            ("", Some(default)),
            ("wrong", None),
            ("truee", None),
            ("1", None),
            ("yes", None),
            ("on", None),
            ("false", Some("false")),
            ("faLSe", Some("false")),
            ("true", Some("true")),
            ("TRUE", Some("true")),
        ]
    };
    check("DAEMON_ALLOW_DOWNLOAD_BINARIES", &with("false"), |s| s.download.allowed.to_string());
    check("DAEMON_RESTART_AFTER_UPGRADE", &with("true"), |s| s.upgrade.restart_after.to_string());
    check("DAEMON_UPGRADE_ENABLED", &with("true"), |s| s.upgrade.enabled.to_string());
    check("COSMOVISOR_DISABLE_RECASE", &with("false"), |s| (!s.upgrade.recase).to_string());
    check("COSMOVISOR_DISABLE_LOGS", &with("false"), |s| (s.log.filter == "off").to_string());
    check("COSMOVISOR_COLOR_LOGS", &with("true"), |s| s.log.color.unwrap_or(true).to_string());
    check("VALIDATOR_MODE", &with("false"), |s| s.node.validator.to_string());
    check("UNSAFE_SKIP_BACKUP", &with("false"), |s| {
        (s.backup.before_upgrade == BackupBefore::Never).to_string()
    });
    check("DAEMON_RESTART_ON_FAILURE", &with("true"), |s| (s.node.restart == Restart::OnFailure).to_string());
}

#[test]
fn lengths_of_time_are_gos_and_longer_than_nothing() {
    let with = |default: &'static str| {
        [
            ("", Some(default)),
            ("bad", None),
            ("0", None),
            ("0s", None),
            ("600", None),
            ("-3m", None),
            ("1s", Some("1s")),
            ("1h2m3.5s", Some("1h2m3s500ms")),
            ("10m0s", Some("10m")),
        ]
    };
    check("DAEMON_SHUTDOWN_GRACE", &with("5m"), |s| s.node.stop.to_string());
    check("DAEMON_RESTART_DELAY", &with("0s"), |s| s.node.restart_delay.to_string());
    let poll = [("300ms", Some("300ms")), ("20000µs", Some("20ms")), ("1s", Some("1s")), ("-3m", None)];
    check("DAEMON_POLL_INTERVAL", &poll, |s| s.upgrade.poll.to_string());
    check("DAEMON_HEALTH_CHECK_INTERVAL", &[("30s", Some("30s"))], |s| s.health.every.to_string());
    let retries = [("bad", None), ("-1", None), ("0", Some("0")), ("", Some("0")), ("5", Some("5"))];
    check("DAEMON_PREUPGRADE_MAX_RETRIES", &retries, |s| s.hooks.retries.to_string());
    check("DAEMON_MAX_RESTARTS", &[("5", Some("5")), ("x", None)], |s| s.node.max_restarts.to_string());
}

#[test]
fn formats_of_times_have_names_and_nothing_is_none() {
    let names =
        "layout ansic unixdate rubydate rfc822 rfc822z rfc850 rfc1123 rfc1123z rfc3339 rfc3339nano kitchen";
    let time = |s: &Settings| s.log.time.clone();
    for name in names.split(' ') {
        check("COSMOVISOR_TIMEFORMAT_LOGS", &[(name, Some(name))], time);
    }
    check(
        "COSMOVISOR_TIMEFORMAT_LOGS",
        &[("", Some("")), ("wrong", None), ("iso8601", Some("rfc3339"))],
        time,
    );
    assert_eq!(parse("", &[]).unwrap().log.time, "rfc3339", "not set at all");
}

#[test]
fn addresses_paths_and_names() {
    let rpc = |s: &Settings| s.node.rpc.clone();
    for variable in ["DAEMON_RPC_ADDRESS", "WEMIXVISOR_RPC_ADDRESS"] {
        check(
            variable,
            &[("localhost:8545", Some("http://localhost:8545")), ("/x.ipc", Some("/x.ipc"))],
            rpc,
        );
    }
    check("DAEMON_DATA_DIR", &[("/d", Some("/d/upgrade-info.json"))], |s| {
        s.upgrade.plan_file.display().to_string()
    });
    check("DAEMON_NETWORK", &[("devnet", Some("devnet"))], |s| s.node.network.clone().unwrap_or_default());
    check("COSMOVISOR_CUSTOM_PREUPGRADE", &[("a.sh", Some("a.sh"))], |s| {
        s.hooks.pre_upgrade.clone().unwrap_or_default()
    });
    check("DAEMON_LOG_FILE", &[("/l", Some("/l"))], |s| s.log.node_file.display().to_string());
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    for variable in ["DAEMON_DATA_BACKUP_DIR", "DAEMON_BACKUP_DATA_DIR"] {
        let found = parse("", &[(variable, dir)]).unwrap();
        assert_eq!(found.backup.dir, folder.path());
        errors(loaded("", &[(variable, "no/such")]), &["is not absolute"]);
        errors(loaded("", &[(variable, "/no/such")]), &["is no folder"]);
        for path in [dir, "", "/no/such", "no/such"] {
            let skipped = loaded("", &[(variable, path), ("UNSAFE_SKIP_BACKUP", "true")]);
            assert!(skipped.is_ok(), "{variable}={path} is not looked at");
        }
    }
}

#[test]
fn every_key_has_a_variable_of_its_own_and_the_short_ones_stay() {
    let env: Pairs<'_> = &[
        ("WEMIXVISOR_NODE_STOP", "7s"),
        ("WEMIXVISOR_HEALTH_MIN_PEERS", "9"),
        ("WEMIXVISOR_NODE_ARGS", "--http.api eth,net --http"),
        ("WEMIXVISOR_GETH_HTTP_API", "eth, net"),
        ("WEMIXVISOR_GETH_EXTRA", "[\"a b\", \"c\"]"),
        ("WEMIXVISOR_UPGRADE_SKIP_HEIGHTS", "5,6"),
        ("WEMIXVISOR_LOG_NODE_MAX_BYTES", "1MiB"),
        ("WEMIXVISOR_ON_EXIT", "leave"),
        ("WEMIXVISOR_LOG", "debug"),
        ("WEMIXVISOR_METRICS", "127.0.0.1:9"),
        ("WEMIXVISOR_RPC", "http://127.0.0.1:1"),
        ("WEMIXVISOR_FLEET_URL", "https://f"),
        ("WEMIXVISOR_FLEET_NODE", "n1"),
        ("WEMIXVISOR_HOOKS_TIMEOUT", ""),
    ];
    let settings = parse("", env).unwrap();
    assert_eq!((settings.node.stop, settings.health.min_peers), (Span::secs(7), 9));
    assert_eq!(settings.node.args, ["--http.api", "eth,net", "--http"]);
    assert_eq!((settings.geth.http_api.len(), settings.geth.extra[0].as_str()), (2, "a b"));
    assert_eq!((settings.upgrade.skip_heights, settings.log.node_max_bytes), (vec![5, 6], 1 << 20));
    assert_eq!((settings.agent.on_exit, settings.log.filter.as_str()), (OnExit::Leave, "debug"));
    assert_eq!(settings.agent.metrics, "127.0.0.1:9".parse().ok());
    assert_eq!((settings.node.rpc.as_str(), settings.hooks.timeout), ("http://127.0.0.1:1", Span::mins(5)));
    assert_eq!(
        settings.fleet.map(|(url, node)| (url, node.to_string())),
        Some(("https://f".into(), "n1".into()))
    );
    // Ours before theirs, the short one first.
    let both: Pairs<'_> =
        &[("DAEMON_SHUTDOWN_GRACE", "1s"), ("WEMIXVISOR_NODE_STOP", "2s"), ("WEMIXVISOR_STOP", "3s")];
    assert_eq!(parse("", both).unwrap().node.stop, Span::secs(3));
    assert_eq!(parse("", &both[..2]).unwrap().node.stop, Span::secs(2));
}

#[test]
fn everything_bad_is_told_at_once() {
    let bad = [
        "DAEMON_ALLOW_DOWNLOAD_BINARIES",
        "DAEMON_DOWNLOAD_MUST_HAVE_CHECKSUM",
        "DAEMON_RESTART_AFTER_UPGRADE",
        "DAEMON_RESTART_DELAY",
        "DAEMON_SHUTDOWN_GRACE",
        "DAEMON_POLL_INTERVAL",
        "UNSAFE_SKIP_BACKUP",
        "DAEMON_PREUPGRADE_MAX_RETRIES",
        "COSMOVISOR_DISABLE_LOGS",
        "COSMOVISOR_COLOR_LOGS",
        "COSMOVISOR_TIMEFORMAT_LOGS",
        "COSMOVISOR_DISABLE_RECASE",
    ];
    let mut env: Vec<(&str, &str)> = bad.iter().map(|name| (*name, "bad")).collect();
    env.extend([("DAEMON_HOME", "relative"), ("DAEMON_DATA_BACKUP_DIR", "also/relative")]);
    let result = Loaded::parse("", &Flags::default(), &variables(&env));
    let mut parts = bad.to_vec();
    parts.extend(["is not absolute", "no chain client is given", "[backup] dir"]);
    errors(result, &parts);
}

#[test]
fn what_has_no_meaning_here_is_said_and_what_would_mislead_is_refused() {
    let env: Pairs<'_> = &[
        ("DAEMON_GRPC_ADDRESS", "localhost:9090"),
        ("DAEMON_LOG_BUFFER_SIZE", "512"),
        ("UNSAFE_SKIP_CHECKSUM", "true"),
        ("DAEMON_DOWNLOAD_MUST_HAVE_CHECKSUM", "false"),
        ("COSMOVISOR_CUSTOM_CURRENT_UPGRADEINFO", "/x"),
    ];
    let warnings = loaded("", env).unwrap().warnings;
    assert_eq!(warnings.len(), env.len(), "{warnings:#?}");
    for (name, _) in env {
        assert!(warnings.iter().any(|w| w.starts_with(name)), "{name}: {warnings:#?}");
    }
    let quiet: Pairs<'_> =
        &[("UNSAFE_SKIP_CHECKSUM", "false"), ("DAEMON_DOWNLOAD_MUST_HAVE_CHECKSUM", "true")];
    assert_eq!(loaded("", quiet).unwrap().warnings, Vec::<String>::new());
    for name in ["ROOT", "CURRENT_LINK", "GENESIS"] {
        errors(loaded("", &[(&format!("COSMOVISOR_CUSTOM_{name}"), "/opt/image")]), &["make"]);
    }
    let same: Pairs<'_> = &[("COSMOVISOR_CUSTOM_ROOT", "/nowhere/wemixvisor")];
    assert!(loaded("", same).is_ok(), "the place where it is anyway");
}
