//! What the end of a node means, by `[node] restart` and `max_restarts`, and what becomes the agent's exit code.
use crate::support::{Host, alive, send, wait};
use common::machine::HEALTHY_AFTER;
use common::time::Span;
use common::wire::v1::ProcessState;
use serde_json::{Value, json};

/// How the node ends, the rule, how often it is started, and the agent's exit code.
type Row = (Value, &'static str, usize, i32);

/// A home whose node may end twice before its end is the agent's.
fn host(behaviour: &Value, restart: &str) -> Host {
    let host = Host::new(behaviour);
    host.settings(None, "stop", "20s");
    let path = host.root().join("wemixvisor.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let node = format!("[node]\nrestart = \"{restart}\"\nmax_restarts = 2\n");
    std::fs::write(path, text.replace("[node]\n", &node)).unwrap();
    host
}

fn ends(behaviour: &Value, restart: &str) -> (usize, Option<i32>, usize) {
    let mut host = host(behaviour, restart);
    host.start();
    let code = host.agent_ends();
    (host.count("started"), code, host.nodes().len())
}

#[test]
fn by_itself_under_each_rule() {
    let exit = |code: i32| json!({"version": "1.0.0", "crash": code});
    let abort = json!({"version": "1.0.0", "panic_at": 101});
    let table: [Row; 12] = [
        (exit(0), "never", 1, 0),
        (exit(7), "never", 1, 7),
        (exit(31), "never", 1, 31),
        (abort.clone(), "never", 1, 134),
        (exit(0), "on-failure", 1, 0),
        (exit(7), "on-failure", 3, 7),
        (exit(31), "on-failure", 3, 31),
        (abort.clone(), "on-failure", 3, 134),
        (exit(0), "always", 3, 0),
        (exit(7), "always", 3, 7),
        (exit(31), "always", 3, 31),
        (abort, "always", 3, 134),
    ];
    // Side by side, because most of the time of each is its pauses.
    std::thread::scope(|scope| {
        let rows: Vec<_> = table.iter().map(|row| (row, scope.spawn(move || ends(&row.0, row.1)))).collect();
        for ((behaviour, rule, starts, code), ended) in rows {
            assert_eq!(ended.join().unwrap(), (*starts, Some(*code), 0), "{behaviour} under {rule}");
        }
    });
}

/// Ends the node, and waits until it is the `count`-th end since it was last well.
fn killed(host: &Host, count: u32) {
    send("KILL", host.healthy());
    wait("the pause before the next start", || match host.status()?.report.process {
        ProcessState::BackingOff { restarts, .. } => (restarts == count).then_some(()),
        _ => None,
    });
}

#[test]
fn a_node_that_was_well_for_a_minute_has_its_budget_back() {
    let mut host = host(&json!({"version": "1.0.0"}), "always");
    host.start();
    killed(&host, 1);
    killed(&host, 2);
    // One more end now, and the agent ends with it.
    let pid = host.healthy();
    // In two parts, because nothing else is waited for this long.
    for part in [HEALTHY_AFTER.0 / 2 + 5_000, HEALTHY_AFTER.0 + 5_000] {
        wait("health", || {
            let report = host.status()?.report;
            let ProcessState::Running { since, .. } = report.process else { panic!("{report:?}") };
            (report.at.since(since) >= Span(part)).then_some(())
        });
    }
    assert!(alive(pid));
    killed(&host, 1);
    host.healthy();
    assert_eq!(host.count("started"), 4);
}

#[test]
fn by_another_hand_it_ends_the_agent_with_the_signals_code() {
    let mut host = Host::new(&json!({"version": "1.0.0"}));
    host.extra.push(("DAEMON_RESTART_ON_FAILURE".into(), "false".into()));
    host.settings(None, "stop", "20s");
    host.start();
    let pid = host.healthy();
    send("KILL", pid);
    assert_eq!((host.agent_ends(), alive(pid), host.count("started")), (Some(137), false, 1));
}

#[test]
fn while_it_is_down_the_agent_still_ends_when_told() {
    let mut host = Host::new(&json!({"version": "1.0.0", "crash": 7}));
    host.settings(None, "stop", "20s");
    host.start();
    wait("the second end", || (host.count("started") >= 2).then_some(()));
    wait("a node that waits for its next start", || {
        let said = host.command(&["status"]);
        String::from_utf8_lossy(&said.stdout).contains("exit code 7; 2 restarts, backing off").then_some(())
    });
    host.signal_agent("TERM");
    assert_eq!((host.agent_ends(), host.nodes().len()), (Some(0), 0));
}
