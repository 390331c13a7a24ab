//! The systemd unit the agent runs in, where it runs in one.
use super::{Findings, Patient};
use crate::config::OnExit;
use common::time::Span;
use std::process::{Command, Stdio};

pub(super) fn look(patient: &Patient<'_>, findings: &mut Findings) {
    let Some(unit) = patient.agent.and_then(unit_of) else { return };
    let Some(shown) = show(&unit) else { return };
    let value = |key: &str| shown.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('='));
    let kill = value("KillMode").unwrap_or_default();
    let settings = patient.settings;
    judge(
        &unit,
        kill,
        value("TimeoutStopUSec").unwrap_or_default(),
        settings.agent.on_exit,
        settings.node.stop,
        findings,
    );
}

fn judge(unit: &str, kill: &str, timeout: &str, on_exit: OnExit, stop: Span, findings: &mut Findings) {
    let check = format!("unit {unit}");
    let hint = |line: &str| format!("`systemctl edit {unit}`: {line}");
    match on_exit {
        // systemd would end the node together with the agent.
        OnExit::Leave if kill != "process" && kill != "none" => {
            let detail = format!("KillMode={kill} ends the node that on_exit = \"leave\" leaves running");
            findings.fail(check.as_str(), detail, hint("KillMode=process"));
        }
        // The node would get a SIGTERM of systemd's beside the agent's.
        OnExit::Stop if kill == "control-group" => {
            let detail = "KillMode=control-group also sends the node a SIGTERM of its own";
            findings.warn(check.as_str(), detail, hint("KillMode=process"));
        }
        OnExit::Stop if kill == "mixed" => {
            let detail = "KillMode=mixed kills the node at once when the agent dies, instead of leaving it for the next one";
            findings.warn(check.as_str(), detail, hint("KillMode=process"));
        }
        _ => findings.ok(check.as_str(), format!("KillMode={kill}")),
    }
    match time(timeout) {
        Some(limit) if on_exit == OnExit::Stop && limit <= stop => {
            let detail = format!(
                "TimeoutStopSec={limit} is not longer than [node] stop = {stop}: systemd would kill the node while it flushes"
            );
            findings.fail(check, detail, hint(&format!("TimeoutStopSec={}", stop.as_ms() / 1000 + 30)));
        }
        _ => findings.ok(check, format!("TimeoutStopSec={timeout}")),
    }
}

/// The service a process belongs to.
fn unit_of(pid: u32) -> Option<String> {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    service(&groups)
}

fn service(groups: &str) -> Option<String> {
    let path = groups
        .lines()
        .find_map(|l| l.strip_prefix("0::").or_else(|| l.split_once(":name=systemd:").map(|p| p.1)))?;
    let name = path.rsplit('/').find(|part| part.ends_with(".service"))?;
    // The manager of a person's own units is no unit of ours.
    Some(name.to_owned()).filter(|n| !n.starts_with("user@"))
}

fn show(unit: &str) -> Option<String> {
    let mut command = Command::new("systemctl");
    command.args(["show", "--property=KillMode,TimeoutStopUSec", "--", unit]);
    let said = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    String::from_utf8(said.stdout).ok().filter(|_| said.status.success())
}

/// A time as systemd writes it, `1min 30s`; `None` is no limit.
fn time(text: &str) -> Option<Span> {
    let mut total = 0_u64;
    for part in text.split_whitespace() {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let value: u64 = part[..digits].parse().ok()?;
        let factor = match &part[digits..] {
            "ms" => 1,
            "s" => 1000,
            "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total = total.saturating_add(value.saturating_mul(factor));
    }
    (total > 0).then_some(Span(total))
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn what_systemd_would_do_to_the_node_is_judged() {
        let states = |kill, timeout, on_exit| {
            let mut findings = Findings::default();
            judge("n.service", kill, timeout, on_exit, Span::mins(5), &mut findings);
            let hinted = findings.0.iter().all(|f| (f.state == State::Ok) == f.hint.is_none());
            assert!(hinted, "{findings:?}");
            (findings.0[0].state, findings.0[1].state)
        };
        assert_eq!(states("mixed", "5min 30s", OnExit::Stop), (State::Warn, State::Ok));
        assert_eq!(states("control-group", "1min 30s", OnExit::Stop), (State::Warn, State::Fail));
        assert_eq!(states("control-group", "infinity", OnExit::Leave), (State::Fail, State::Ok));
        assert_eq!(states("process", "10s", OnExit::Leave), (State::Ok, State::Ok));
    }

    #[test]
    fn units_and_times_are_read() {
        assert_eq!(service("0::/system.slice/geth.service\n").as_deref(), Some("geth.service"));
        assert_eq!(service("0::/system.slice/geth.service/agent\n").as_deref(), Some("geth.service"));
        assert_eq!(service("1:name=systemd:/system.slice/a.service\n").as_deref(), Some("a.service"));
        assert_eq!(service("0::/user.slice/user@1000.service/app.slice\n"), None);
        assert_eq!(service("0::/init.scope"), None);
        assert_eq!((time("1min 30s"), time("infinity"), time("")), (Some(Span::secs(90)), None, None));
    }
}
