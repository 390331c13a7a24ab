//! The steps of an installation that change the host, and the comparison that finds out which are needed.
use super::error::InstallError;
use super::host::{Host, SHORT};
use super::install::{Enrolment, Fleet, Job, Order, Places, Wanted};
use super::probe::Init;
use super::session::tail;
use common::release::Digest;
use std::time::Duration;
use tokio::time::Instant;

/// Where the unit goes.
const UNIT: &str = "/etc/systemd/system/wemixvisor.service";

/// Digests of what is there, and whether the agent runs. `$1` agent, `$2` unit, `$3` mark, `$4` configuration, `$5` certificate, `$6` pid file.
const STATE: &str = r#"
sum() { if [ -f "$2" ]; then echo "$1=$(sha256sum -- "$2" | cut -d' ' -f1 | tr -d '\\')"; else echo "$1=none"; fi; }
sum agent "$1"; sum unit "$2"; sum config "$4"; sum certificate "$5"
if [ -f "$3" ]; then echo "mark=$(head -c 64 -- "$3")"; else echo mark=none; fi
if [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1; then
  echo "active=$(systemctl is-active wemixvisor.service)"; echo "enabled=$(systemctl is-enabled wemixvisor.service 2>/dev/null)"
fi
pid=$(cat -- "$6" 2>/dev/null)
if [ -n "$pid" ] && [ "$(readlink "/proc/$pid/exe" 2>/dev/null)" = "$1" ]; then echo detached=active; else echo detached=none; fi
"#;

/// Starts the agent detached, after ending the one that was started so before. `$1` agent, `$2` home, `$3` daemon, `$4` pid file, `$5` log.
const DETACH: &str = r#"set -e
pid=$(cat -- "$4" 2>/dev/null || true)
if [ -n "$pid" ]; then
  case "$(readlink "/proc/$pid/exe" 2>/dev/null)" in "$1"|"$1 (deleted)")
    kill -TERM "$pid"; n=0
    while [ -e "/proc/$pid" ] && [ "$n" -lt 100 ]; do sleep 0.1; n=$((n+1)); done;;
  esac
fi
DAEMON_HOME=$2 DAEMON_NAME=$3 setsid nohup "$1" run >>"$5" 2>&1 </dev/null &
echo $! >"$4.part" && mv -f -- "$4.part" "$4""#;

fn pid_file(places: &Places) -> String {
    format!("{}/agent.pid", places.root)
}

fn log_file(places: &Places) -> String {
    format!("{}/agent.log", places.root)
}

fn config_file(places: &Places) -> String {
    format!("{}/wemixvisor.toml", places.root)
}

/// Digest of the configuration as it was installed; tells whether a person edited it since.
fn mark_file(places: &Places) -> String {
    format!("{}/installed.sha256", places.root)
}

fn certificate(places: &Places) -> String {
    format!("{}/fleet/agent.crt", places.root)
}

/// What has to be changed, in words; empty when all is as it should be.
///
/// # Errors
/// When the host cannot be asked.
pub async fn compare(
    order: &Order,
    host: &Host,
    places: &Places,
    wanted: &Wanted,
) -> Result<Vec<&'static str>, InstallError> {
    let (crt, pid) = (certificate(places), pid_file(places));
    let arguments =
        ["sh", "-c", STATE, "sh", &places.agent, UNIT, &mark_file(places), &config_file(places), &crt, &pid];
    let said = host.root("comparing", &arguments, SHORT).await?;
    let get = |key: &str| said.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('=')).unwrap_or("none");
    let digest = |text: &str| Digest::of(text.as_bytes()).to_string();
    let systemd = places.init == Init::Systemd;
    let running = if systemd { get("active") == "active" } else { get("detached") == "active" };
    // What a person edited on the host is replaced only by a template a person gave.
    let (found, right) = (get("config"), digest(&wanted.config));
    let ours = found == get("mark");
    let config_differs = found == "none" || found != right && (wanted.replace_config || ours);
    let list = [
        (get("agent") != order.binary.sha256.to_string(), "agent"),
        (config_differs, "configuration"),
        (systemd && (get("unit") != digest(&wanted.unit) || get("enabled") != "enabled"), "unit"),
        (get("certificate") == "none", "enrolment"),
        (!running, "start"),
    ];
    Ok(list.into_iter().filter_map(|(differs, what)| differs.then_some(what)).collect())
}

/// Changes what differs and starts the agent. Once it is started, what was placed stays.
///
/// # Errors
/// [`InstallError`] names the step; the caller takes back what was placed.
#[expect(clippy::too_many_arguments, reason = "the steps share the whole situation of one host")]
pub async fn apply(
    job: &Job,
    order: &Order,
    fleet: &impl Fleet,
    host: &mut Host,
    places: &Places,
    wanted: &Wanted,
    changes: &[&'static str],
    say: &(dyn Fn(&'static str) + Sync),
) -> Result<(), InstallError> {
    let owner = if places.user == host.facts.user { "" } else { places.user.as_str() };
    if places.init == Init::Systemd {
        say("making the account");
        account(host, places).await?;
    }
    folders(host, places).await?;
    if changes.contains(&"agent") {
        say("sending the agent");
        let staged = host
            .stage_file("sending the agent", &order.binary.path, &order.binary.sha256.to_string())
            .await?;
        host.place("placing the agent", &staged, &places.agent, "755", "").await?;
    }
    let enrolling = changes.contains(&"enrolment") || changes.contains(&"configuration");
    if enrolling {
        say("making the key on the host");
        let csr = host
            .user(
                "making the key on the host",
                &places.user,
                &[&places.agent, "enroll", "--csr-only", "--node", job.node.as_str(), "--home", &places.home],
            )
            .await?;
        if !csr.contains("-----BEGIN CERTIFICATE REQUEST-----") {
            return Err(InstallError::Answer { step: "making the key on the host", said: tail(&csr, 200) });
        }
        say("signing the certificate");
        let enrolment = fleet.certify(&job.node, &csr).await.map_err(InstallError::Fleet)?;
        say("writing configuration and certificate");
        if changes.contains(&"configuration") {
            let staged = host.stage_text("writing the configuration", "config", &wanted.config).await?;
            host.place("writing the configuration", &staged, &config_file(places), "640", owner).await?;
            let mark = Digest::of(wanted.config.as_bytes()).to_string();
            let staged = host.stage_text("writing the configuration", "mark", &mark).await?;
            host.place("writing the configuration", &staged, &mark_file(places), "644", owner).await?;
        }
        finish_enrolment(job, order, host, places, &enrolment).await?;
    }
    say("starting");
    start(host, places, wanted, changes).await?;
    host.keep();
    Ok(())
}

async fn account(host: &Host, places: &Places) -> Result<(), InstallError> {
    let step = "making the account";
    if host.ask_root(step, &["id", "-u", &places.user]).await?.code == 0 {
        return Ok(());
    }
    let arguments =
        ["useradd", "--system", "--home-dir", &places.home, "--shell", "/usr/sbin/nologin", &places.user];
    host.root(step, &arguments, SHORT).await.map(|_| ())
}

/// The home and its own folder belong to the account; what is inside already is left alone.
async fn folders(host: &Host, places: &Places) -> Result<(), InstallError> {
    let step = "making folders";
    let script = r#"set -e
for d in "$1" "$2"; do
  [ -d "$d" ] || { mkdir -p -- "$d"; chmod 750 "$d"; }
  [ -z "$3" ] || [ "$(stat -c %U -- "$d")" != root ] || chown "$3:" "$d"
done"#;
    let owner = if places.init == Init::Systemd { places.user.as_str() } else { "" };
    host.root(step, &["sh", "-c", script, "sh", &places.home, &places.root, owner], SHORT).await.map(|_| ())
}

async fn finish_enrolment(
    job: &Job,
    order: &Order,
    host: &mut Host,
    places: &Places,
    enrolment: &Enrolment,
) -> Result<(), InstallError> {
    let step = "installing the certificate";
    let crt = host.stage_text(step, "crt", &enrolment.certificate).await?;
    let ca = host.stage_text(step, "ca", &enrolment.ca).await?;
    let trust = match &enrolment.trust {
        Some(json) => Some(host.stage_text(step, "trust", json).await?),
        None => None,
    };
    let mut arguments = vec![
        places.agent.as_str(),
        "enroll",
        "--install-certificate",
        &crt,
        "--ca",
        &ca,
        "--url",
        &order.url,
        "--node",
        job.node.as_str(),
        "--home",
        &places.home,
        "--name",
        &places.daemon,
    ];
    if let Some(path) = &trust {
        arguments.extend(["--trust", path]);
    }
    host.user(step, &places.user, &arguments).await.map(|_| ())
}

async fn start(
    host: &mut Host,
    places: &Places,
    wanted: &Wanted,
    changes: &[&'static str],
) -> Result<(), InstallError> {
    let step = "starting the agent";
    if places.init == Init::None {
        let (pid, log) = (pid_file(places), log_file(places));
        let arguments = ["sh", "-c", DETACH, "sh", &places.agent, &places.home, &places.daemon, &pid, &log];
        return host.root(step, &arguments, SHORT).await.map(|_| ());
    }
    if changes.contains(&"unit") {
        let staged = host.stage_text("writing the unit", "unit", &wanted.unit).await?;
        host.place("writing the unit", &staged, UNIT, "644", "").await?;
        host.root("reading the unit", &["systemctl", "daemon-reload"], SHORT).await?;
    }
    let started = async {
        host.root(step, &["systemctl", "enable", "wemixvisor.service"], SHORT).await?;
        // A restart of the agent leaves its node alone (KillMode=process).
        host.root(step, &["systemctl", "restart", "wemixvisor.service"], SHORT * 3).await
    };
    match started.await {
        Ok(_) => Ok(()),
        Err(e) => {
            if changes.contains(&"agent") && changes.contains(&"unit") {
                let _ = host.ask_root(step, &["systemctl", "disable", "--now", "wemixvisor.service"]).await;
            }
            Err(e)
        }
    }
}

/// Waits until the coordinator has heard from the agent after `before`.
///
/// # Errors
/// [`InstallError::NoFirstSync`] with the end of the agent's log.
pub async fn first_sync(
    job: &Job,
    order: &Order,
    fleet: &impl Fleet,
    host: &Host,
    places: &Places,
    before: Option<u64>,
) -> Result<(), InstallError> {
    let end = Instant::now() + order.first_sync;
    loop {
        let heard = fleet.last_heard(&job.node).await.map_err(InstallError::Fleet)?;
        if heard > before {
            return Ok(());
        }
        if Instant::now() >= end {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let log = log_file(places);
    let arguments: &[&str] = match places.init {
        Init::Systemd => &["journalctl", "-u", "wemixvisor.service", "-n", "5", "--no-pager", "-o", "cat"],
        Init::None => &["tail", "-n", "5", &log],
    };
    let said = host.ask_root("reading the agent's log", arguments).await.ok();
    let log = said.map(|s| tail(&s.stdout, 500)).filter(|s| !s.is_empty());
    Err(InstallError::NoFirstSync { limit: order.first_sync, log })
}
