//! The phases of a run.
use super::home::{Home, resident};
use super::node::{CHAIN_ID, FIRST_HEAD, now_ns};
use super::{Idle, SuperviseResult, SuperviseSpec, Times};
use crate::agents::ProcessUse;
use crate::devnet::{free_ports, wait_until};
use crate::fleet::{Coordinator, kill_under};
use anyhow::{Context as _, Result, ensure};
use coordinator::api::body::{JoinToken, NodeList};
use serde_json::{Value, json};
use sha2::Digest as _;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

/// How long an event of the node is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// After so long without a switch the agent is taken to follow no plan files.
const NO_SWITCH: Duration = Duration::from_secs(20);
/// What an agent does when it is young (looking closely, first sync) is over after this.
const SETTLED: Duration = Duration::from_secs(5);
/// An executable that changed less than two seconds ago is read twice by a start, because its times prove nothing yet.
/// That of a host is older.
const JUST_INSTALLED: Duration = Duration::from_secs(3);
const NODE: &str = "supervised";

/// Ends every process that runs from a folder with it, on whichever way out.
struct Scene(tempfile::TempDir);

impl Drop for Scene {
    fn drop(&mut self) {
        kill_under(self.0.path());
    }
}

/// Measures.
///
/// # Errors
/// When a program does not start or end as it should, with the end of its log. Nothing of ours runs any more then.
pub async fn run(spec: &SuperviseSpec, say: impl Fn(&str)) -> Result<SuperviseResult> {
    ensure!(spec.repeat > 0, "nothing would be measured");
    let scene = Scene(tempfile::tempdir()?);
    let dir = scene.0.path().canonicalize()?;
    say("making a home");
    let mut home = Home::make(spec, &dir.join("alone"))?;
    let digest = digest_times(&home.path.join("release"), spec.repeat)?;
    tokio::time::sleep(JUST_INSTALLED).await;
    let (start, stop) = starts(spec, &mut home, &say).await?;
    say("the agent alone");
    home.start()?;
    home.healthy().await?;
    let alone = watch(spec, &home).await?;
    home.stop().await?;
    say("switch by a plan file");
    let switch = switches(spec, &dir).await?;
    let in_fleet = match &spec.wemixfleet {
        Some(program) => {
            say("the agent in a fleet");
            Some(in_fleet(spec, program, &dir).await?)
        }
        None => None,
    };
    let binary_bytes = std::fs::metadata(home.path.join("release"))?.len();
    Ok(SuperviseResult { binary_bytes, digest, start, stop, switch, alone, in_fleet })
}

/// Reading and hashing a file as the agent does it.
fn digest_times(path: &Path, repeat: usize) -> Result<Times> {
    let mut all = Vec::new();
    let mut buffer = vec![0; 32 << 10];
    for _ in 0..repeat {
        let (began, mut hash) = (now_ns(), sha2::Sha256::new());
        let mut file = std::fs::File::open(path)?;
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                n => hash.update(&buffer[..n]),
            }
        }
        std::hint::black_box(hash.finalize());
        all.push(now_ns().saturating_sub(began));
    }
    Ok(Times::of(all))
}

/// Starts and stops. The first start of a home makes its ledger and is not counted.
async fn starts(spec: &SuperviseSpec, home: &mut Home, say: &impl Fn(&str)) -> Result<(Times, Times)> {
    let (mut start, mut stop) = (Vec::new(), Vec::new());
    for i in 0..=spec.repeat {
        say(&format!("start and stop, {i} of {}", spec.repeat));
        let forked = home.start()?;
        let executed = home.event("executed", i + 1, PATIENCE).await?;
        home.healthy().await?;
        let gone = home.stop().await?;
        let ended = home.event("ended", i + 1, PATIENCE).await?;
        if i > 0 {
            start.push(executed.saturating_sub(forked));
            stop.push(gone.saturating_sub(ended));
        }
    }
    ensure!(home.events("executed").len() == spec.repeat + 1, "a node was started that nobody asked for");
    Ok((Times::of(start), Times::of(stop)))
}

/// Memory and CPU of an agent that is left alone with its node.
async fn watch(spec: &SuperviseSpec, home: &Home) -> Result<Idle> {
    tokio::time::sleep(SETTLED).await;
    let pid = home.pid()?;
    let used = ProcessUse::start(pid)?;
    tokio::time::sleep(spec.watch).await;
    let used = used.finish().with_context(|| home.log_tail())?;
    let (cpu_percent, seconds) = (used.core_share() * 100.0, used.wall.as_secs_f64());
    Ok(Idle { memory: resident(pid)?, cpu_percent, seconds })
}

/// Switches from one release to another, each in a home of its own.
async fn switches(spec: &SuperviseSpec, dir: &Path) -> Result<Option<Times>> {
    let mut all = Vec::new();
    for i in 0..spec.repeat {
        let mut home = Home::make(spec, &dir.join(format!("switch-{i}")))?;
        home.start()?;
        home.event("executed", 1, PATIENCE).await?;
        home.healthy().await?;
        let blocks = u64::try_from(2000 / spec.block.as_millis().max(1)).unwrap_or(2).max(2);
        let height = FIRST_HEAD + blocks + 2;
        home.plan(spec, height)?;
        let Ok(executed) = home.event("executed", 2, NO_SWITCH).await else {
            home.stop().await?;
            return Ok(None);
        };
        let ended = home.events("ended").first().copied().context("the old node wrote no end down")?;
        all.push(executed.saturating_sub(ended));
        home.healthy().await?;
        home.stop().await?;
        std::fs::remove_dir_all(&home.path)?;
    }
    Ok(Some(Times::of(all)))
}

/// Memory and CPU of an agent that has joined the fleet of a real coordinator.
async fn in_fleet(spec: &SuperviseSpec, program: &Path, dir: &Path) -> Result<Idle> {
    let port = free_ports(1)?[0];
    let config = format!(
        "schema = 1\ndata_dir = \"data\"\nlisten = \"127.0.0.1:{port}\"\n[network]\nname = \"load\"\nchain_id = {CHAIN_ID}\n\
         genesis_hash = \"0x{}\"\n",
        "00".repeat(32)
    );
    let url = format!("https://127.0.0.1:{port}");
    let mut coordinator = Coordinator::init(program, &dir.join("fleet"), &config, &url)?;
    coordinator.start().await?;
    let body = json!({"name": NODE, "network": "load", "role": "rpc"});
    let _record: Value = coordinator.post("/v1/nodes", &body).await?;
    let join: JoinToken = coordinator.post(&format!("/v1/nodes/{NODE}/join-token"), &json!({})).await?;
    let mut home = Home::make(spec, &dir.join("member"))?;
    let hash = join.ca_hash.to_string();
    home.command(&[
        "enroll",
        "--url",
        &join.url,
        "--node",
        NODE,
        "--token",
        &join.token,
        "--ca-hash",
        &hash,
    ])?;
    home.start()?;
    home.healthy().await?;
    let reported = wait_until("the coordinator has the agent's report", PATIENCE, || async {
        let list: NodeList = coordinator.get("/v1/nodes").await.ok()?;
        let observed = list.nodes.first()?.observed.as_ref()?;
        observed.report.health.rpc_up.then_some(())
    });
    reported.await.with_context(|| format!("{}\n{}", home.log_tail(), coordinator.log_tail()))?;
    let idle = watch(spec, &home).await?;
    home.stop().await?;
    Ok(idle)
}
