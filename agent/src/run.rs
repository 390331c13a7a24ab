//! `wemixvisor run`: lock the home, see what is there, supervise until told to end.
use crate::config::{Flags, Settings, judge};
use crate::driver::{Driver, Parts};
use crate::home::Home;
use crate::host::files::Checked;
use crate::host::{backup, download, found, lock};
use crate::metrics::Counters;
use crate::probe::Prober;
use crate::sync::coordinator::Coordinator;
use crate::sync::files::FleetFiles;
use crate::sync::{Contact, Sync};
use crate::{clock, driver, ledger, metrics, webhook};
use anyhow::Context;
use common::id::NodeName;
use common::machine::Ledger;
use common::release::Digest;
use common::wire::v1::AgentPhase;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tokio::sync::mpsc;

/// Supervises a home in the foreground.
///
/// # Errors
/// When the home cannot be supervised; the node was not touched then.
pub async fn run(settings: Settings, flags: Flags, args: Vec<String>) -> anyhow::Result<ExitCode> {
    let home = Arc::new(settings.layout());
    let base = &settings.node.home;
    anyhow::ensure!(
        base.is_dir(),
        "the home {} is no folder\nhint: wemixvisor init EXECUTABLE",
        base.display()
    );
    let args = if args.is_empty() { settings.node.args.clone() } else { args };
    if let Some(network) = &settings.node.network {
        let judged = judge(network, &args);
        judged.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        anyhow::ensure!(judged.errors.is_empty(), "the node's arguments:\n  {}", judged.errors.join("\n  "));
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(home.root())
        .with_context(|| format!("making {}", home.root().display()))?;
    let _lock = lock::take(&home.lock())?;
    let hashing = hash_current(&home);
    download::clean(&home);
    // Socket paths are limited to about a hundred bytes; relative to here they are short.
    std::env::set_current_dir(home.root())?;
    let node = found::node(&home)?;
    // A restore that was cut short: without its end the data is neither the old nor the restored.
    if node.is_none()
        && let Some((name, phase)) = backup::repair(&home)?
    {
        tracing::warn!(backup = name, ?phase, "a restore that was cut short has been brought to its end");
    }
    let ledger = remembered(&home)?;
    let trust = settings.trust.clone();
    let files = FleetFiles::new(home.fleet());
    let coordinator = match &settings.fleet {
        Some((url, _)) => Some(Arc::new(Coordinator::new(url, files)?)),
        None => None,
    };
    let name = settings.fleet.as_ref().map_or_else(alone, |(_, node)| node.clone());
    let contact =
        Contact { url: coordinator.as_ref().map_or("", |c| c.url()).to_owned(), ..Contact::default() };
    let contact = Arc::new(Mutex::new(contact));
    let prober = Prober::new(settings.node.rpc.clone())?;
    let (arrived_in, arrived) = mpsc::channel(1);
    let program = driver::own_program().context("finding this program's own file")?;
    let counters = Arc::new(Counters::default());
    let teller = match &settings.webhook {
        Some(hook) => {
            let home = home.base.display().to_string();
            Some(webhook::start(hook, name.to_string(), home, Arc::clone(&counters))?)
        }
        None => None,
    };
    seal_what_waits(settings.backup.dir.clone());
    let checked = hashing.and_then(|thread| thread.join().ok().flatten());
    let found = found::all(&home, &ledger, node.as_ref(), checked.as_ref());
    let parts = Parts {
        counters: Arc::clone(&counters),
        teller,
        checked,
        home,
        settings,
        flags,
        program,
        args,
        name,
        trust,
        coordinator,
        contact,
        prober,
        node,
        arrived,
    };
    let (driver, outlets) = Driver::boot(parts, ledger, found)?;
    if let Some(coordinator) = driver.coordinator() {
        let driver::Outlets { reports, urgent } = &outlets;
        let (reports, urgent) = (reports.clone(), urgent.clone());
        let contact = driver.contact();
        tokio::spawn(Sync { coordinator, reports, urgent, arrived: arrived_in, contact }.run());
    }
    if let Some(address) = driver.settings().agent.metrics {
        tokio::spawn(metrics::serve(address, outlets.reports.clone(), counters).await?);
    }
    driver.run().await
}

/// Hashes the executable that is most likely started next, while everything else is being read.
fn hash_current(home: &Arc<Home>) -> Option<JoinHandle<Option<Checked>>> {
    let path = home.binary(&home.current_target()?);
    let hashing = std::thread::Builder::new().name("hash".to_owned()).stack_size(128 * 1024);
    hashing.spawn(move || Checked::of(&path).ok().flatten()).ok()
}

/// Backups of an agent that died before it had computed their digests.
fn seal_what_waits(dir: PathBuf) {
    tokio::task::spawn_blocking(move || {
        for (folder, sealed) in backup::seal_all(&dir, &mut |_| {}) {
            if let Err(error) = sealed {
                tracing::warn!(backup = %folder.display(), %error, "the backup could not be sealed");
            }
        }
    });
}

/// The ledger of a home, or its first one, which is written down before anything else happens.
fn remembered(home: &Home) -> anyhow::Result<Ledger> {
    let first = || found::first_ledger(home);
    match ledger::read(&home.ledger())? {
        // Installed before the chain client was: as if it were the first start.
        Some(stored) if stored.current.digest == Digest([0; 32]) && stored.phase == AgentPhase::Idle => {
            let current = first()?.current;
            Ok(Ledger { current, ..stored })
        }
        Some(stored) if found::went_on(home, &stored) => {
            let current = first()?.current;
            tracing::warn!(release = %current.name, before = %stored.current.name, "another supervisor upgraded this home meanwhile; going on from there");
            let anew = Ledger::genesis(current.name, current.digest, clock::now());
            Ok(Ledger { head: stored.head, highest_sequence: stored.highest_sequence, ..anew })
        }
        Some(stored) => Ok(stored),
        None => {
            let ledger = first()?;
            ledger::write(&home.ledger(), &ledger)?;
            tracing::info!(release = %ledger.current.name, digest = %ledger.current.digest, "first start of this home");
            Ok(ledger)
        }
    }
}

/// The name of a node that is in no fleet.
fn alone() -> NodeName {
    let host = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    NodeName::new(host)
        .or_else(|_| NodeName::new(format!("host-{}", clock::now().0)))
        .unwrap_or_else(|_| unreachable!("a number after a word follows the grammar of names"))
}
