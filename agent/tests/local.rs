//! Upgrades that a host decides by itself: plan file, batch, schedule; chains that halt; hooks; the way back.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]
mod support;

use agent::driver::{PlanReason, PlanWait};
use common::machine::HeightWait;
use common::wire::v1::{AgentPhase, FaultCode};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use support::coordinator::Fleet;
use support::{AGENT, Host, alive, wait};

fn host(behaviour: &serde_json::Value) -> Host {
    let host = Host::new(behaviour);
    host.plan_settings("");
    host
}

fn waits_for(host: &Host, fits: impl Fn(&PlanWait) -> bool) {
    wait("the plan's reason", || host.status()?.plan?.waits.filter(&fits).map(drop));
}

#[test]
fn a_plan_is_followed_at_its_height_and_written_down() {
    let mut host = host(&json!({"version": "1.0.0"}));
    host.add("v2", &json!({"version": "2.0.0"}));
    host.plan(r#"{"name":"v2","time":"0001-01-01T00:00:00Z","height":160,"info":"a <b>"}"#);
    host.start();
    let pid = host.healthy();
    waits_for(&host, |w| matches!(w, PlanWait::Height(HeightWait::HeightAhead { height: 160, .. })));
    assert!(alive(pid), "stopped before the height");
    host.runs("v2");
    assert!(host.kept_head() >= 160, "switched at {}", host.kept_head());
    assert_eq!((host.count("term"), host.count("flushed"), host.count("started 2.0.0")), (1, 1, 1));
    let applied = wait("the applied plan", || {
        std::fs::read_to_string(host.root().join("upgrades/v2/upgrade-info.json")).ok()
    });
    let exact =
        "{\"name\":\"v2\",\"time\":\"0001-01-01T00:00:00Z\",\"height\":160,\"info\":\"a \\u003cb\\u003e\"}";
    assert_eq!(applied, exact);
    assert!(host.data().join("upgrade-info.json").is_file(), "the plan file is its writer's");
    wait("rest", || (host.status()?.report.phase == AgentPhase::Idle).then_some(()));
    assert!(host.status().unwrap().plan.is_none());
    // Neither the plan that is still there nor a restart does it again.
    host.signal_agent("TERM");
    assert_eq!(host.agent_ends(), Some(0));
    host.start();
    host.healthy();
    assert_eq!((host.count("started 2.0.0"), host.count("started 1.0.0")), (2, 1));
}

#[test]
fn chains_that_end_their_node_at_the_height() {
    for behaviour in [
        json!({"version": "1.0.0", "exit_at": 130}),
        json!({"version": "1.0.0", "exit_at": 130, "exit_code": 3}),
        json!({"version": "1.0.0", "panic_at": 130}),
    ] {
        let mut host = host(&behaviour);
        host.add("v2", &json!({"version": "2.0.0", "not_below": 130}));
        host.plan(r#"{"name":"v2","height":130}"#);
        host.start();
        host.runs("v2");
        let halts = (host.kept_head() >= 129, host.count("term"), host.count("halted") >= 1);
        assert_eq!(halts, (true, 0, true), "{behaviour}: {:?}", host.events());
        // Blocks come so fast here that the last one may not have been seen; it is tried once more then.
        assert!(host.count("started 1.0.0") <= 2, "{behaviour}: {:?}", host.events());
    }
}

#[test]
fn a_chain_whose_plan_comes_with_its_last_breath() {
    let plan = json!({"name": "v2", "height": 130, "info": {"why": "fork"}});
    let mut host = host(&json!({"version": "1.0.0", "plan": plan, "plan_at": 129, "exit_at": 130}));
    host.add("v2", &json!({"version": "2.0.0", "not_below": 130}));
    host.start();
    host.runs("v2");
    assert_eq!((host.kept_head(), host.count("term")), (129, 0), "{:?}", host.events());
}

#[test]
fn a_chain_that_stands_still_below_the_height_with_its_node_up() {
    let mut host = host(&json!({"version": "1.0.0", "halt_at": 130}));
    host.add("v2", &json!({"version": "2.0.0"}));
    host.plan(r#"{"name":"v2","height":"130"}"#);
    host.start();
    host.runs("v2");
    assert_eq!((host.kept_head(), host.count("term"), host.count("flushed")), (129, 1, 1));
}

#[test]
fn after_the_height_the_old_release_is_not_launched_again() {
    let mut host = host(&json!({"version": "1.0.0"}));
    host.start();
    host.healthy();
    wait("some blocks", || host.status()?.report.health.head().filter(|b| b.height >= 120).map(drop));
    host.signal_agent("TERM");
    assert_eq!(host.agent_ends(), Some(0));
    host.add("v2", &json!({"version": "2.0.0"}));
    host.plan(r#"{"name":"v2","height":110}"#);
    host.start();
    host.runs("v2");
    assert_eq!(host.count("started 1.0.0"), 1, "{:?}", host.events());
}

#[test]
fn bad_plan_files_are_shown_and_nothing_else() {
    let mut host = host(&json!({"version": "1.0.0"}));
    host.add("v2", &json!({"version": "2.0.0"}));
    host.start();
    let pid = host.healthy();
    for bad in [
        "",
        "{",
        "not json",
        r#"{"name":"v2"}"#,
        r#"{"height":5}"#,
        r#"{"name":"v2","height":0}"#,
        r#"{"name":"..","height":101}"#,
    ] {
        host.plan(bad);
        wait(&format!("the fault of {bad:?}"), || host.status()?.plan_faults.first().cloned());
        let _ = std::fs::remove_file(host.data().join("upgrade-info.json"));
        wait("no fault", || host.status()?.plan_faults.is_empty().then_some(()));
    }
    assert!(alive(pid) && host.count("term") == 0 && host.count("started") == 1);
    // Empty first, then whole, as a writer that is not atomic leaves it.
    host.plan("");
    host.plan(r#"{"name":"V2","height":101,"time":"2026-01-01T00:00:00Z"}"#);
    host.runs("v2");
}

#[test]
fn the_kernel_tells_of_a_plan_when_nobody_looks() {
    let mut host = Host::new(&json!({"version": "1.0.0"}));
    host.plan_settings("[upgrade]\npoll = \"60m\"\n[health]\nevery = \"60m\"\n");
    host.start();
    let pid = host.healthy();
    host.plan(r#"{"name":"v2","height":100000}"#);
    wait("the plan", || host.status()?.plan.filter(|p| p.height == Some(100_000)).map(drop));
    std::fs::remove_file(host.data().join("upgrade-info.json")).unwrap();
    wait("no plan", || host.status()?.plan.is_none().then_some(()));
    assert!(alive(pid) && host.count("term") == 0);
}

#[test]
fn where_the_kernel_has_no_room_for_a_listener_plan_files_are_polled() {
    let full = "echo 0 >/proc/sys/user/max_inotify_instances && exec \"$0\" \"$@\"";
    let tried = Command::new("unshare").args(["-Ur", "sh", "-c", full, "true"]).status();
    if !tried.is_ok_and(|s| s.success()) {
        eprintln!("skipped: no user namespaces here");
        return;
    }
    let mut host = Host::new(&json!({"version": "1.0.0"}));
    host.plan_settings("[upgrade]\npoll = \"50ms\"\n[health]\nevery = \"60m\"\n");
    let wrapped = host.folder.path().join("without-inotify");
    let text = format!("#!/bin/sh\nexec unshare -Ur sh -c '{full}' '{AGENT}' \"$@\"\n");
    std::fs::write(&wrapped, text).unwrap();
    std::fs::set_permissions(&wrapped, std::fs::Permissions::from_mode(0o755)).unwrap();
    host.program = wrapped;
    host.start();
    host.program = AGENT.into();
    host.healthy();
    let said = std::fs::read_to_string(host.log()).unwrap();
    assert!(said.contains("plan files are polled"), "{said}");
    host.plan(r#"{"name":"v2","height":100000}"#);
    wait("the plan", || host.status()?.plan.filter(|p| p.height == Some(100_000)).map(drop));
}

#[test]
fn an_unknown_height_is_no_height() {
    let mut host = host(&json!({"version": "1.0.0", "mute": true}));
    host.add("v2", &json!({"version": "2.0.0"}));
    host.plan(r#"{"name":"v2","height":1}"#);
    host.start();
    waits_for(&host, |w| matches!(w, PlanWait::Height(HeightWait::HeadUnknown { height: 1 })));
    assert_eq!((host.count("term"), host.current().as_str()), (0, "genesis"));
    let table = String::from_utf8(host.command(&["status"]).stdout).unwrap();
    assert!(table.contains("head-unknown"), "{table}");
}

#[test]
fn a_release_that_is_not_there_leaves_the_node_alone() {
    let mut host = host(&json!({"version": "1.0.0"}));
    host.plan(r#"{"name":"v2","height":101}"#);
    host.start();
    let pid = host.healthy();
    let fault = host.fault(FaultCode::ArtifactUnavailable);
    assert!(fault.detail.contains("add-upgrade"), "{fault:?}");
    wait("the height", || host.status()?.report.health.head().filter(|b| b.height > 110).map(drop));
    assert!(alive(pid) && host.count("term") == 0);
    host.add("v2", &json!({"version": "2.0.0"}));
    host.runs("v2");
    assert_eq!(host.count("term"), 1);
}

#[test]
fn a_batch_goes_one_by_one_and_its_missed_first_does_not_block_it() {
    let mut host = host(&json!({"version": "1.0.0"}));
    for (name, version) in [("a", "2.0.0"), ("b", "3.0.0"), ("c", "4.0.0")] {
        host.add(name, &json!({"version": version}));
    }
    let at = |name: &str, height: u64| format!("{{\"name\":\"{name}\",\"height\":{height}}}");
    std::fs::write(
        host.data().join("upgrade-info.json.batch"),
        format!("[{},{},{}]", at("c", 260), at("a", 10), at("b", 40)),
    )
    .unwrap();
    host.start();
    // The head is 100 at the start: `a` is passed over for `b`, and `c` comes later.
    host.runs("c");
    assert_eq!(
        (host.count("started 2.0.0"), host.count("started 3.0.0"), host.count("started 4.0.0")),
        (0, 1, 1)
    );
    wait("the batch without them", || {
        let left = std::fs::read_to_string(host.data().join("upgrade-info.json.batch")).unwrap_or_default();
        (!left.contains("\"b\"") && !left.contains("\"c\"")).then_some(())
    });
}

#[test]
fn a_release_that_does_not_come_up_is_left_again() {
    let mut host = host(&json!({"version": "1.0.0"}));
    host.add("v2", &json!({"version": "2.0.0", "crash": 9}));
    host.start();
    host.healthy();
    let said = host.command(&["upgrade", "schedule", "v2", "now"]);
    assert!(said.status.success(), "{said:?}");
    waits_for(&host, |w| *w == PlanWait::Other { reason: PlanReason::FailedHere });
    wait("the old release", || {
        (host.status()?.report.health.rpc_up && host.current() == "genesis").then_some(())
    });
    assert_eq!(host.fault(FaultCode::CrashLoop).code, FaultCode::CrashLoop);
    let tries = host.count("started 2.0.0");
    assert_eq!((tries, host.nodes().len()), (3, 1));
    // A new agent does not try again by itself; the operator does, with another executable.
    host.signal_agent("TERM");
    assert_eq!(host.agent_ends(), Some(0));
    host.start();
    host.healthy();
    assert_eq!(host.count("started 2.0.0"), tries);
    let good = host.folder.path().join("good");
    std::fs::write(&good, support::release::release_bytes(&json!({"version": "2.0.1"}))).unwrap();
    let said = host.command(&["add-upgrade", "v2", good.to_str().unwrap(), "--force"]);
    assert!(said.status.success(), "{said:?}");
    let said = host.command(&["upgrade", "retry"]);
    assert!(said.status.success(), "{said:?}");
    host.runs("v2");
}

#[test]
fn past_the_height_the_new_release_is_kept_and_started_again() {
    let mut host = host(&json!({"version": "1.0.0"}));
    host.add("v2", &json!({"version": "2.0.0", "crash": 9}));
    host.plan(r#"{"name":"v2","height":105}"#);
    host.start();
    let fault = host.fault(FaultCode::CrashLoop);
    assert!(fault.detail.contains("no way back"), "{fault:?}");
    wait("another start", || (host.count("started 2.0.0") > 3).then_some(()));
    assert_eq!((host.current().as_str(), host.count("started 1.0.0")), ("v2", 1));
}

#[test]
fn hooks_come_between_stop_and_switch_and_can_say_no() {
    let mut host = host(&json!({"version": "1.0.0"}));
    host.plan_settings("[hooks]\npre_upgrade = \"pre.sh\"\nnode_command = true\nretries = 2\n");
    let script = "#!/bin/sh\necho \"$1 $2 $(readlink \"$DAEMON_HOME/wemixvisor/current\")\" >> \"$DAEMON_HOME/hook\"\n";
    std::fs::write(host.root().join("pre.sh"), script).unwrap();
    host.add("v2", &json!({"version": "2.0.0", "pre_upgrade": [31, 31, 30]}));
    host.plan(r#"{"name":"v2","height":105}"#);
    host.start();
    host.fault(FaultCode::HookFailed);
    wait("the old release", || host.status()?.report.health.rpc_up.then_some(()));
    let calls =
        || std::fs::read_to_string(host.folder.path().join("pre-upgrade-calls")).unwrap().lines().count();
    assert_eq!((calls(), host.current().as_str(), host.count("started 2.0.0")), (3, "genesis", 0));
    assert_eq!(std::fs::read_to_string(host.folder.path().join("hook")).unwrap(), "v2 105 genesis\n");
    host.kill_agent();
    host.start();
    host.healthy();
    wait("a settled agent", || (host.status()?.report.phase == AgentPhase::Failed).then_some(()));
    let calls =
        std::fs::read_to_string(host.folder.path().join("pre-upgrade-calls")).unwrap().lines().count();
    assert_eq!((calls, host.count("started 2.0.0")), (3, 0), "a refusal was forgotten");
}

#[test]
fn a_missing_hook_is_found_before_the_node_is_stopped() {
    let mut host = host(&json!({"version": "1.0.0"}));
    host.plan_settings("[hooks]\npre_upgrade = \"missing.sh\"\n");
    host.add("v2", &json!({"version": "2.0.0"}));
    host.plan(r#"{"name":"v2","height":101}"#);
    host.start();
    let pid = host.healthy();
    let fault = host.fault(FaultCode::HookFailed);
    assert!(fault.detail.contains("missing.sh") && alive(pid) && host.count("term") == 0, "{fault:?}");
}

#[test]
fn a_backup_is_made_with_the_node_down_and_sealed_after() {
    let mut host = host(&json!({"version": "1.0.0"}));
    let dir = host.folder.path().join("backups");
    std::fs::create_dir(&dir).unwrap();
    host.plan_settings(&format!("[backup]\nbefore_upgrade = \"always\"\ndir = {dir:?}\n"));
    host.add("v2", &json!({"version": "2.0.0"}));
    host.plan(r#"{"name":"v2","height":105}"#);
    host.start();
    host.runs("v2");
    let listed = wait("a sealed backup", || {
        let said = host.command(&["backup", "list", "-o", "json"]);
        let text = String::from_utf8(said.stdout).unwrap();
        (text.contains("pre-v2") && !text.contains("unsealed")).then_some(text)
    });
    let name = std::fs::read_dir(&dir).unwrap().flatten().next().unwrap().file_name();
    let said = host.command(&["backup", "verify", name.to_str().unwrap()]);
    assert!(said.status.success(), "{said:?} {listed}");
    let saved = std::fs::read_to_string(find(&dir, "head")).unwrap();
    assert_eq!(saved, host.kept_head().to_string(), "not the state after the flush");
}

fn find(folder: &std::path::Path, name: &str) -> std::path::PathBuf {
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        for entry in std::fs::read_dir(&path).unwrap().flatten() {
            if entry.file_name() == name {
                return entry.path();
            }
            if entry.path().is_dir() {
                open.push(entry.path());
            }
        }
    }
    panic!("no {name} below {}", folder.display());
}

#[test]
fn without_restart_after_upgrade_the_agent_ends_well_on_the_new_release() {
    let mut host = host(&json!({"version": "1.0.0"}));
    host.extra.push(("DAEMON_RESTART_AFTER_UPGRADE".into(), "false".into()));
    host.add("v2", &json!({"version": "2.0.0"}));
    host.plan(r#"{"name":"v2","height":105}"#);
    host.start();
    assert_eq!(host.agent_ends(), Some(0));
    assert_eq!((host.current().as_str(), host.nodes().len(), host.count("started 2.0.0")), ("v2", 0, 0));
    host.start();
    host.runs("v2");
}

#[test]
fn in_a_fleet_the_fleet_decides() {
    let fleet = Fleet::start();
    let mut host = Host::new(&json!({"version": "1.0.0"}));
    host.settings_and(Some(&fleet), "stop", "20s", "[upgrade]\npoll = \"50ms\"\n");
    host.add("v2", &json!({"version": "2.0.0"}));
    host.plan(r#"{"name":"v2","height":101}"#);
    host.start();
    let pid = host.healthy();
    waits_for(&host, |w| *w == PlanWait::Other { reason: PlanReason::FleetDecides });
    wait("the height", || host.status()?.report.health.head().filter(|b| b.height > 110).map(drop));
    assert!(alive(pid) && host.count("term") == 0);
}

#[test]
fn skipped_heights_leave_the_node_running() {
    let mut host = host(&json!({"version": "1.0.0"}));
    host.plan_settings("[upgrade]\npoll = \"50ms\"\nskip_heights = [105]\n");
    host.add("v2", &json!({"version": "2.0.0"}));
    host.plan(r#"{"name":"v2","height":105}"#);
    host.start();
    let pid = host.healthy();
    wait("the height", || host.status()?.report.health.head().filter(|b| b.height > 115).map(drop));
    assert!(alive(pid) && host.count("term") == 0 && host.status().unwrap().plan.is_none());
}

#[test]
fn plans_from_before_a_fleets_upgrade_are_of_the_past() {
    let fleet = Fleet::start();
    let mut host = Host::new(&json!({"version": "1.0.0"}));
    host.settings_and(Some(&fleet), "stop", "20s", "[upgrade]\npoll = \"50ms\"\n");
    host.add("older", &json!({"version": "0.9.0"}));
    host.plan(r#"{"name":"older","height":101}"#);
    host.start();
    host.healthy();
    wait("the height", || host.status()?.report.health.head().filter(|b| b.height > 101).map(drop));
    let v2 = fleet.publish(&support::release::Release::new("v2", 2, &json!({"version": "2.0.0"})), &[0, 1]);
    fleet.order(&v2, fleet.switch());
    host.runs("v2");
    host.signal_agent("TERM");
    assert_eq!(host.agent_ends(), Some(0));
    // It leaves the fleet; the plan file of old is still there.
    host.plan_settings("");
    host.start();
    let pid = host.healthy();
    assert!(host.status().unwrap().plan.is_none(), "{:?}", host.status().unwrap().plan);
    assert!(alive(pid) && host.current() == "v2" && host.count("started 0.9.0") == 0);
}
