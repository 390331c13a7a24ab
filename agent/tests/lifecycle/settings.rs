//! Settings that change under a running agent.
use crate::support::{Host, alive, wait};
use crate::{failed, said};
use serde_json::json;
use std::path::Path;

fn file(host: &Host) -> std::path::PathBuf {
    host.root().join("wemixvisor.toml")
}

fn logged(host: &Host, part: &str) -> bool {
    std::fs::read_to_string(host.folder.path().join("agent.log")).unwrap_or_default().contains(part)
}

fn change(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(path, text.replace(from, to)).unwrap();
}

#[test]
fn reload_takes_over_what_it_can_and_names_the_rest() {
    let mut host = Host::new(&json!({"version": "1.0.0", "ignore_term": true}));
    host.settings(None, "stop", "10m");
    let path = file(&host);
    change(&path, "log = \"debug,hyper=info,reqwest=info\"", "log = \"error\"");
    let reload = |host: &Host| host.command(&["reload"]);
    assert!(failed(&reload(&host), 1).contains("no wemixvisor runs"));
    host.start();
    let pid = host.healthy();
    assert_eq!(said(&reload(&host)), "the settings are as before\n");
    assert!(!logged(&host, "INFO"), "the filter of the file did not count");
    change(&path, "log = \"error\"", "log = \"info\"");
    assert_eq!(said(&reload(&host)), "taken over: log.filter\n");
    // The same by a signal; what it did is in the log, which was silent before.
    change(&path, "stop = \"10m\"", "stop = \"20m\"");
    host.signal_agent("HUP");
    wait("the signal's reload", || logged(&host, "taken over: node.stop").then_some(()));
    let rpc = format!("http://127.0.0.1:{}", host.port);
    change(&path, &rpc, "http://127.0.0.1:1");
    assert_eq!(said(&reload(&host)), "only after a restart: node.rpc\n");
    change(&path, "stop = \"20m\"", "stop = \"1s\"");
    assert_eq!(said(&reload(&host)), "taken over: node.stop; only after a restart: node.rpc\n");
    // A file that is wrong changes nothing, by either way.
    let good = std::fs::read_to_string(&path).unwrap();
    change(&path, "stop = \"1s\"", "stop = \"soon\"");
    assert!(failed(&reload(&host), 1).contains("node"), "what is wrong is said");
    host.signal_agent("HUP");
    wait("the refusal", || logged(&host, "the settings stay as they were").then_some(()));
    std::fs::write(&path, "][").unwrap();
    failed(&reload(&host), 1);
    assert!(alive(pid) && host.count("term") == 0, "the node has nothing to do with it");
    std::fs::write(&path, good).unwrap();
    // The limit that was taken over is the one that counts: with the first this would take ten minutes.
    host.signal_agent("TERM");
    assert_eq!((host.agent_ends(), alive(pid), host.count("term")), (Some(0), false, 1));
}
