//! Called `cosmovisor`, in a home that cosmovisor made, told everything by its variables.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]
#[path = "dropin/downloads.rs"]
mod downloads;
#[path = "support/guest.rs"]
#[allow(dead_code, reason = "the tests of migration use all of it")]
mod guest;
#[path = "dropin/recovery.rs"]
mod recovery;
#[path = "fetch/server.rs"]
#[allow(dead_code, reason = "the tests of fetching use all of it")]
mod server;
mod support;

use common::wire::v1::FaultCode;
use guest::Guest;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use support::{alive, wait};

#[test]
fn an_upgrade_as_a_unit_file_of_cosmovisors_has_it() {
    for absolute in [false, true] {
        let plan = json!({"name": "Chain2", "height": 112, "info": ""});
        let first =
            json!({"version": "1.0.0", "plan": plan, "plan_at": 106, "chatter_ms": 30, "flush_ms": 300});
        let mut guest = Guest::cosmovisor(&first);
        guest.add("upgrades/chain2", &json!({"version": "2.0.0", "chatter_ms": 30, "flush_ms": 300}));
        if absolute {
            guest.link(&guest.at("cosmovisor/genesis"));
        }
        guest.set("UNSAFE_SKIP_BACKUP", "true");
        guest.set("DAEMON_RESTART_DELAY", "700ms");
        guest.set("DAEMON_LOG_BUFFER_SIZE", "512");
        let odd = ["--x.flag=1", "-c", "f", "--cosmovisor-config=g", "a b", "--help"];
        guest.start(&odd);
        guest.runs("chain2", "upgrades/chain2");
        let record: serde_json::Value = serde_json::from_str(&guest.text("cosmovisor/process.json")).unwrap();
        let flushed = std::fs::metadata(guest.at("data/head")).unwrap().modified().unwrap();
        let flushed = flushed.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
        let pause = record["since"].as_u64().unwrap().saturating_sub(flushed);
        assert!(pause >= 690, "the restart delay was {pause} ms");
        let applied = guest.text("cosmovisor/upgrades/chain2/upgrade-info.json");
        assert_eq!(applied, r#"{"name":"chain2","time":"0001-01-01T00:00:00Z","height":112}"#);
        // What cosmovisor 1.7 lost here: a signal after an upgrade, with a node that takes its time (E4b).
        let pid = guest.host.healthy();
        guest.stop();
        assert!(!alive(pid), "the node outlived its supervisor");
        let counts = (guest.host.count("term"), guest.host.count("flushed"), guest.host.count("double"));
        assert_eq!(counts, (2, 2, 0), "{:?}", guest.host.events());
        let args: Vec<String> = guest.host.events().into_iter().filter(|e| e.starts_with("args ")).collect();
        assert_eq!(args.len(), 2, "{args:?}");
        assert!(args.iter().all(|a| a.starts_with(&format!("args {} ", odd.join("|")))), "{args:?}");
        // The node's output, and nothing else, is on standard output.
        let out = guest.text("agent.out");
        assert!(out.lines().count() >= 4 && out.lines().all(|l| l.starts_with("line ")), "{out}");
        assert!(out.contains(&format!("line {pid} 0\n")), "{out}");
        assert!(guest.text("agent.log").contains("DAEMON_LOG_BUFFER_SIZE is ignored"));
        assert!(!guest.at("wemixvisor").exists(), "one supervisor's folder is enough");
        assert!(!guest.tree().keys().any(|p| p.to_string_lossy().contains("backup")), "a backup was made");
    }
}

#[test]
fn the_childs_output_and_exit_code_are_passed_on() {
    for code in [0, 1, 7, 31, 233] {
        let script = format!("#!/bin/sh\necho \"Genesis $*\"\necho to stderr >&2\nexit {code}\n");
        let guest = Guest::new("cosmovisor", "/usr/bin/cosmovisor", script.as_bytes());
        let output = guest.command(&["run", "foo", "bar", "--cosmovisor-config", "/dev/null", "1234", "-h"]);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        // The one flag that cosmovisor takes out from among the node's arguments, apart from its value.
        assert_eq!(String::from_utf8_lossy(&output.stdout), "Genesis foo bar 1234 -h\n");
        assert!(String::from_utf8_lossy(&output.stderr).contains("to stderr\n"), "{output:?}");
    }
    let silent = Guest::new("cosmovisor", "cosmovisor", b"#!/bin/sh\necho once >&2\n");
    let mut silent = silent;
    silent.set("COSMOVISOR_DISABLE_LOGS", "true");
    let output = silent.command(&["run"]);
    assert_eq!((String::from_utf8_lossy(&output.stderr).as_ref(), output.status.code()), ("once\n", Some(0)));
}

#[test]
fn without_a_command_it_helps_and_unknown_words_are_no_commands() {
    let guest = Guest::new("cosmovisor", "cosmovisor", b"#!/bin/sh\n");
    for args in [&[][..], &["help"], &["--help"], &["-h"]] {
        let output = guest.command(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("run"), "{args:?}: {output:?}");
    }
    let output = guest.command(&["starts", "--home", "/h"]);
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
}

#[test]
fn grace_is_kept_and_names_keep_their_case_where_that_is_said() {
    let plan = json!({"name": "Chain2", "height": 104});
    let first = json!({"version": "1.0.0", "ignore_term": true, "plan": plan, "plan_at": 101});
    let mut guest = Guest::cosmovisor(&first);
    guest.add("upgrades/Chain2", &json!({"version": "2.0.0", "not_below": 0}));
    for (name, value) in [
        ("DAEMON_SHUTDOWN_GRACE", "1s500ms"),
        ("COSMOVISOR_DISABLE_RECASE", "TRUE"),
        ("UNSAFE_SKIP_BACKUP", "true"),
    ] {
        guest.set(name, value);
    }
    guest.start(&[]);
    let pid = guest.host.healthy();
    guest.runs("Chain2", "upgrades/Chain2");
    assert_eq!((guest.host.count("term"), guest.host.count("flushed"), alive(pid)), (1, 0, false));
    assert!(guest.text("agent.log").contains("did not stop in time; SIGKILL"));
    let applied = guest.text("cosmovisor/upgrades/Chain2/upgrade-info.json");
    assert!(applied.starts_with(r#"{"name":"Chain2","#), "{applied}");
    guest.stop();
}

#[test]
fn two_upgrades_of_one_day_have_two_backups_and_sockets_are_no_obstacle() {
    let mut guest = Guest::cosmovisor(&json!({"version": "1.0.0"}));
    guest.add("upgrades/a", &json!({"version": "2.0.0"}));
    guest.add("upgrades/b", &json!({"version": "3.0.0"}));
    let dir = guest.at("backups");
    let old = guest.write("backups/data-backup-2026-1-2/head", "7");
    guest.set("DAEMON_DATA_BACKUP_DIR", dir.to_str().unwrap());
    let socket = std::os::unix::net::UnixListener::bind(guest.at("data/geth.ipc")).unwrap();
    guest.write("data/upgrade-info.json.batch", r#"[{"name":"b","height":160},{"name":"a","height":110}]"#);
    guest.start(&[]);
    guest.runs("b", "upgrades/b");
    drop(socket);
    let listed = wait("two sealed backups", || {
        let text = String::from_utf8(guest.command(&["backup", "list", "-o", "json"]).stdout).unwrap();
        let list: Vec<serde_json::Value> = serde_json::from_str(&text).ok()?;
        (list.len() == 3 && !text.contains("unsealed")).then_some(text)
    });
    assert!(listed.contains("pre-a") && listed.contains("pre-b") && listed.contains("data-backup-2026-1-2"));
    assert_eq!(std::fs::read_to_string(&old).unwrap(), "7", "what was there was written into");
    assert_eq!(std::fs::read_dir(old.parent().unwrap()).unwrap().count(), 1);
    guest.stop();
}

#[test]
fn a_missing_script_is_found_before_the_node_is_stopped() {
    let mut guest = Guest::cosmovisor(&json!({"version": "1.0.0"}));
    guest.add("upgrades/chain2", &json!({"version": "2.0.0"}));
    guest.set("COSMOVISOR_CUSTOM_PREUPGRADE", "missing.sh");
    guest.set("UNSAFE_SKIP_BACKUP", "true");
    guest.host.plan(r#"{"name":"chain2","height":49}"#);
    guest.start(&[]);
    let pid = guest.host.healthy();
    let fault = guest.host.fault(FaultCode::HookFailed);
    assert!(fault.detail.contains("missing.sh"), "{fault:?}");
    assert_eq!((alive(pid), guest.host.count("term"), guest.current().as_str()), (true, 0, "genesis"));
    // Put in its place it is run, with the arguments and in the folder that cosmovisor gives it.
    let script = guest.write("cosmovisor/missing.sh", "#!/bin/sh\necho OK > upgrade_name_$1_height_$2\n");
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o644)).unwrap();
    let output = guest.command(&["upgrade", "retry"]);
    assert!(output.status.success(), "{output:?}");
    guest.runs("chain2", "upgrades/chain2");
    assert_eq!(guest.text("upgrade_name_chain2_height_49"), "OK\n");
    let mode = std::fs::metadata(&script).unwrap().permissions().mode();
    assert_eq!(mode & 0o744, 0o744, "it was not made executable: {mode:o}");
    guest.stop();
}

#[test]
fn a_home_that_is_not_cosmovisors_is_named_with_everything_that_is_wrong() {
    let mut guest = Guest::new("cosmovisor", "cosmovisor", b"#!/bin/sh\n");
    for (name, value) in [
        ("DAEMON_ALLOW_DOWNLOAD_BINARIES", "yes"),
        ("DAEMON_RESTART_DELAY", "600"),
        ("DAEMON_SHUTDOWN_GRACE", "-3m"),
        ("UNSAFE_SKIP_BACKUP", "wrong"),
        ("COSMOVISOR_TIMEFORMAT_LOGS", "sometimes"),
        ("DAEMON_PREUPGRADE_MAX_RETRIES", "bad"),
        ("COSMOVISOR_CUSTOM_PREUPGRADE", "../x.sh"),
    ] {
        guest.set(name, value);
    }
    let output = guest.command(&["run"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{text}");
    for (name, _) in guest.host.extra.iter().skip(2).filter(|(name, _)| !name.contains("CUSTOM")) {
        assert!(text.contains(name), "{name}: {text}");
    }
    assert!(Path::new(&guest.at("cosmovisor/lock")).symlink_metadata().is_err(), "nothing is begun");
}
