//! Every signal to the agent: what becomes of it and of the node.
use crate::support::{Host, alive, send, wait};
use serde_json::json;

fn log(host: &Host) -> String {
    std::fs::read_to_string(host.folder.path().join("agent.log")).unwrap_or_default()
}

#[test]
fn no_signal_loses_the_node() {
    let mut host = Host::new(&json!({"version": "1.0.0", "flush_ms": 100}));
    host.settings(None, "stop", "20s");
    host.start();
    let pid = host.healthy();
    // These do not end the agent. A line in its log, or none, tells that it was dealt with.
    for (signal, line) in [
        ("HUP", Some("the settings are as before")),
        ("USR1", Some("SIGUSR1")),
        ("USR2", Some("handing over")),
        ("PIPE", None),
        ("WINCH", None),
    ] {
        let agent = host.agent.as_ref().unwrap().id();
        send(signal, agent);
        if let Some(line) = line {
            wait(&format!("{signal} in the log"), || log(&host).contains(line).then_some(()));
        }
        let answers = wait(&format!("an answer after {signal}"), || host.status().map(|s| s.agent_pid));
        assert_eq!(answers, agent, "{signal}: another agent");
        assert_eq!(host.agent.as_mut().unwrap().try_wait().unwrap(), None, "{signal} ended the agent");
        assert_eq!((host.healthy(), host.count("term"), host.nodes()), (pid, 0, vec![pid]), "{signal}");
    }
    // These end it where it stands, as nothing can keep from it, and the next one adopts the node.
    for signal in ["KILL", "ABRT", "ALRM"] {
        host.signal_agent(signal);
        assert_eq!(host.agent_ends(), None, "{signal}");
        assert!(alive(pid), "{signal}: the node went with its agent");
        host.start();
        wait("the next agent", || host.status());
        assert_eq!((host.healthy(), host.count("term"), host.nodes()), (pid, 0, vec![pid]), "{signal}");
    }
    // These stop the node once, wait for it, and end well.
    let (mut node, mut stops) = (pid, 0);
    for signal in ["QUIT", "INT", "TERM"] {
        host.signal_agent(signal);
        stops += 1;
        assert_eq!(host.agent_ends(), Some(0), "{signal}");
        assert!(!alive(node), "{signal}: the node outlived its agent");
        assert_eq!((host.count("term"), host.count("flushed")), (stops, stops), "{signal}");
        if signal != "TERM" {
            host.start();
            node = host.healthy();
        }
    }
    assert_eq!(host.count("double"), 0, "two nodes at once: {:?}", host.events());
}

#[test]
fn signals_in_a_stop_do_not_shorten_it() {
    let mut host = Host::new(&json!({"version": "1.0.0", "flush_ms": 800}));
    host.settings(None, "stop", "20s");
    host.start();
    let pid = host.healthy();
    host.signal_agent("TERM");
    wait("the stop", || (host.count("term") == 1).then_some(()));
    for signal in ["TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "PIPE"] {
        host.signal_agent(signal);
    }
    assert_eq!((host.agent_ends(), alive(pid)), (Some(0), false));
    assert_eq!((host.count("term"), host.count("flushed")), (1, 1));
}
