//! Agents are installed on real hosts over real SSH and report to a real coordinator.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]
mod ssh_support;

use ssh_support::{Bench, agent_binary, must, until};
use std::process::Command;

/// Configuration of the agents; the node only has to stay.
const AGENT: &str = r#"schema = 1

[fleet]
url = "@URL@"
node = "@NODE@"

[node]
args = ["infinity"]
"#;

/// One story on each kind of host, because booting is what costs: refused, installed, installed again, changed key, unreachable.
#[test]
fn agents_are_installed_on_systemd_hosts() {
    if let Some(bench) = Bench::containers() {
        story(&bench);
    }
}

/// The same without systemd: the agent is started detached.
#[test]
fn agents_are_installed_without_systemd() {
    story(&Bench::loopback());
}

fn story(bench: &Bench) {
    std::fs::write(bench.dir.path().join("agent.toml"), AGENT).unwrap();
    let hosts = if bench.systemd() { 2 } else { 1 };
    let names: Vec<String> = (1..=hosts).map(|k| format!("host-{k}")).collect();
    for (k, name) in names.iter().enumerate() {
        let ssh = bench.ssh(k + 1);
        let added = bench.fleet(&["node", "add", name, "--role", "rpc", "--ssh", &ssh]);
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    }
    let agent = agent_binary();

    // A host whose key nobody vouched for is not talked to.
    let (code, said) = bench.install(&agent, &["host-1"]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("is not known (it offers SHA256:") && said.contains("--trust-on-first-use"),
        "{said}"
    );
    assert!(!bench.known_hosts().exists());

    // An agent that cannot make a key leaves nothing behind.
    let (code, said) = bench.install("/bin/false".as_ref(), &["host-1", "--trust-on-first-use"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("making the key on the host failed on the host"), "{said}");
    let left = bench.on_host(1, &leftovers(bench));
    assert_eq!(left, "", "a failed installation leaves nothing");

    let (code, said) = bench.install(&agent, &["--all", "--dry-run"]);
    let expected = if bench.systemd() { 3 } else { 0 };
    assert_eq!(code, expected, "only the first host's key is pinned: {said}");
    assert!(said.contains("host-1: would change agent"), "{said}");

    let (code, said) = bench.install(&agent, &["--all", "--trust-on-first-use"]);
    assert_eq!(code, 0, "{said}");
    for (k, name) in names.iter().enumerate() {
        assert!(said.contains(&format!("{name}: installed")), "{said}");
        let key = bench.on_host(k + 1, &format!("stat -c %a {}/wemixvisor/fleet/agent.key", bench.home()));
        assert_eq!(key.trim(), "600", "the key is the agent's alone");
    }
    let shown = bench.fleet(&["node", "show", "host-1", "-o", "json"]);
    let node: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert!(node["observed"]["report"]["agent_version"].is_string(), "{node}");
    assert!(node["record"]["agent_key"].is_string(), "{node}");
    if bench.systemd() {
        under_systemd(bench);
    }

    // The second run finds everything as it should be.
    let before = bench.on_host(1, &state(bench));
    let (code, said) = bench.install(&agent, &["--all"]);
    assert_eq!(code, 0, "{said}");
    for name in &names {
        assert!(said.contains(&format!("{name}: nothing to do")), "{said}");
    }
    assert_eq!(bench.on_host(1, &state(bench)), before);

    unreachable_and_changed(bench, &agent);
}

/// The unit is what was promised, and a restart of the agent leaves the node alone although it is sandboxed.
fn under_systemd(bench: &Bench) {
    let said = bench.on_host(
        1,
        "systemctl is-active wemixvisor; systemctl is-enabled wemixvisor; ps -o user= -C wemixvisor",
    );
    assert!(said.starts_with("active\nenabled\n") && said.contains("wemixvi"), "{said}");
    let exposure = bench.on_host(1, "systemd-analyze security wemixvisor | tail -n 1");
    let level: f64 = exposure.split_whitespace().find_map(|w| w.parse().ok()).unwrap();
    assert!(level <= 1.6, "{exposure}");

    let pid = || {
        let shown = bench.fleet(&["node", "show", "host-1", "-o", "json"]);
        let node: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
        node["observed"]["report"]["process"]["pid"].as_u64()
    };
    let before = until("a running node", pid);
    let group = bench.on_host(1, &format!("cat /proc/{before}/cgroup"));
    assert!(group.trim_end().ends_with("/wemixvisor.service/wemixvisor-node"), "{group}");
    let agent = "systemctl show -p MainPID --value wemixvisor";
    let old = bench.on_host(1, agent);
    let home = bench.home();
    bench.on_host(1, "systemctl restart wemixvisor");
    assert_ne!(bench.on_host(1, agent), old, "another agent");
    // The control socket answers only when the new agent has taken the node over.
    let status = format!("runuser -u wemixvisor -- wemixvisor status --home {home} --name scripted_node");
    until("the new agent", || bench.on_host(1, &status).contains(&before.to_string()).then_some(()));
    assert_eq!(bench.on_host(1, &format!("kill -0 {before} && echo alive")).trim(), "alive");
    assert_eq!(until("a running node", pid), before, "the node was left alone");
}

/// Commands that list what an installation would leave.
fn leftovers(bench: &Bench) -> String {
    let home = bench.home();
    let system = if bench.systemd() {
        "/usr/local/bin/wemixvisor* /etc/systemd/system/wemixvisor.service*"
    } else {
        ""
    };
    format!("ls -d {system} {home}/bin/* {home}/wemixvisor/wemixvisor.toml* /tmp/tmp.*/before-* 2>/dev/null")
}

/// What must not change when there is nothing to do: files and the agent's process.
fn state(bench: &Bench) -> String {
    let home = bench.home();
    format!(
        "stat -c '%n %i %Y' /usr/local/bin/wemixvisor /etc/systemd/system/wemixvisor.service {home}/bin/wemixvisor {home}/wemixvisor/wemixvisor.toml 2>/dev/null; cat {home}/wemixvisor/agent.pid 2>/dev/null; systemctl show -p MainPID wemixvisor 2>/dev/null"
    )
}

fn unreachable_and_changed(bench: &Bench, agent: &std::path::Path) {
    let nowhere = "root@127.0.0.1:1";
    let added = bench.fleet(&["node", "add", "gone", "--role", "rpc", "--ssh", nowhere]);
    assert!(added.status.success());
    let (code, said) = bench.install(agent, &["host-1", "gone", "--trust-on-first-use"]);
    assert_eq!(code, 3, "one of two: {said}");
    assert!(said.contains("gone: FAILED: root@127.0.0.1:1 cannot be reached"), "{said}");
    assert!(said.contains("host-1: nothing to do"), "{said}");

    // Another key under the same name is refused, also with the flag for first use.
    let other = bench.dir.path().join("other");
    must(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&other));
    let public = std::fs::read_to_string(other.with_extension("pub")).unwrap();
    let pinned = std::fs::read_to_string(bench.known_hosts()).unwrap();
    let host = pinned.split_whitespace().next().unwrap();
    let forged = pinned.replacen(pinned.lines().next().unwrap(), &format!("{host} {}", public.trim()), 1);
    std::fs::write(bench.known_hosts(), &forged).unwrap();
    let victim = (1..=2)
        .find(|k| bench.ssh(*k).contains(host.trim_start_matches('[').split(']').next().unwrap()))
        .unwrap();
    let (code, said) = bench.install(agent, &[&format!("host-{victim}"), "--trust-on-first-use"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("HAS CHANGED") && said.contains("(line 1)"), "{said}");
    assert_eq!(std::fs::read_to_string(bench.known_hosts()).unwrap(), forged, "the pin stays");
}
