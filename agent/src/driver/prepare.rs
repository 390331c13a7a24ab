//! Before a switch: staging and checks with the node up, backup and hooks with it down.
use super::Driver;
use crate::clock;
use crate::config::{BackupBefore, Settings};
use crate::home::Home;
use crate::host::backup::{self, Backup};
use crate::host::download::{Order, Stager};
use crate::host::{fetch, files, hooks, preflight};
use crate::plan::{self, Plan};
use crate::webhook::{self, Kind};
use common::machine::{Event, StagedRelease};
use common::manifest::Manifest;
use common::release::{InstalledRelease, ReleaseRef};
use common::time::Span;
use common::wire::v1::{Fault, FaultCode};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

impl Driver {
    /// Fetches and verifies a release, from the coordinator's mirror or from where a plan of this host says.
    pub(super) fn stage(&mut self, release: ReleaseRef, within: Span) {
        if let Some(plan) = self.plan_of_target().cloned() {
            let (home, settings) = (Arc::clone(&self.parts.home), self.parts.settings.clone());
            return self.begin(async move { Event::Staged(stage_plan(&home, &settings, &plan).await) });
        }
        let Some(coordinator) = self.parts.coordinator.clone() else {
            let fault = clock::fault(FaultCode::ManifestUnavailable, "this host is in no fleet");
            return self.queue.push_back(Event::Staged(Err(fault)));
        };
        let ledger = self.machine.ledger();
        let order = Order {
            release,
            within,
            highest_sequence: ledger.highest_sequence,
            clock_ahead_ms: ledger.clock_ahead_ms,
            current: ledger.current.clone(),
        };
        let stager = Stager {
            home: Arc::clone(&self.parts.home),
            coordinator,
            trust: self.parts.trust.clone(),
            variant: self.parts.settings.node.variant.clone(),
            chain: self.chain.subscribe(),
            download: Some(self.parts.settings.download.clone()),
        };
        self.begin(async move { Event::Staged(stager.stage(order).await) });
    }

    /// Everything that can be checked while the old release runs.
    pub(super) fn preflight(&mut self, release: InstalledRelease) {
        let (home, settings) = (Arc::clone(&self.parts.home), self.parts.settings.clone());
        let by_plan = self.plan_of_target().is_some();
        let manifest = self.machine.ledger().target.as_ref().map(|t| t.manifest).filter(|_| !by_plan);
        let manifest = manifest.or_else(|| {
            let own = || std::fs::read(self.parts.home.manifest(&release.name)).ok();
            own().filter(|_| release.sequence > 0).map(|bytes| common::release::Digest::of(&bytes))
        });
        self.begin(async move {
            let checked = async {
                let extra = tokio::task::spawn_blocking({
                    let (home, settings) = (Arc::clone(&home), settings.clone());
                    move || room_for_backup(&home, &settings)
                });
                let extra = extra.await.unwrap_or_else(|e| Err(backup_fault(e)))?;
                hooks::check(&home, &settings.hooks, &release.name)?;
                let files = hooks::files(&home, &settings.hooks, &release.name);
                preflight::check(&home, &release, manifest, extra, &files).await
            };
            Event::Preflighted(checked.await)
        });
    }

    /// Backs up and runs the hooks, with the node down.
    pub(super) fn prepare(&mut self, release: InstalledRelease) {
        let (home, settings) = (Arc::clone(&self.parts.home), self.parts.settings.clone());
        let ledger = self.machine.ledger();
        let meta = backup::Meta {
            made_at: clock::now(),
            release: Some(ledger.current.clone()),
            height: ledger.head,
            live: false,
        };
        let plan = self.plan_of_target().cloned();
        let height = plan.as_ref().and_then(|p| p.height).or(ledger.activation_height);
        let unsealed = Arc::clone(&self.unsealed);
        let (counters, teller) = (Arc::clone(&self.parts.counters), self.parts.teller.clone());
        self.begin(async move {
            tokio::time::sleep(settings.node.restart_delay.to_std()).await;
            let done = async {
                let began = Instant::now();
                let made = back_up(&home, &settings, &release, meta).await.inspect_err(|fault| {
                    counters.backup_failed_ms.store(clock::now().0, Ordering::Relaxed);
                    tell(teller.as_ref(), Kind::BackupFailed, &fault.detail);
                })?;
                if let Some(made) = made {
                    let took = Span(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
                    tracing::info!(backup = made.name(), %took, "backed up");
                    counters.backed_up(clock::now(), made.manifest().totals.bytes, took);
                    tell(teller.as_ref(), Kind::BackupDone, &made.name());
                    if let Ok(mut waiting) = unsealed.lock() {
                        waiting.push(made);
                    }
                }
                let upgrading = hooks::Upgrading {
                    title: plan.as_ref().map_or(release.name.as_str(), |p| p.title.as_str()),
                    name: release.name.clone(),
                    digest: release.digest,
                    height,
                    info: plan.as_ref().map_or("", |p| p.info.as_str()),
                };
                hooks::run(&home, &settings.hooks, &upgrading, &|line| tracing::info!("{line}")).await
            };
            Event::Prepared(done.await)
        });
    }

    /// Computes the digests of backups beside the running node, and removes those that are too many or too old.
    pub(super) fn seal_backups(&mut self) {
        let waiting = self.unsealed.lock().map(|mut w| std::mem::take(&mut *w)).unwrap_or_default();
        if waiting.is_empty() {
            return;
        }
        let settings = self.parts.settings.backup.clone();
        tokio::task::spawn_blocking(move || {
            for mut made in waiting {
                if let Err(error) = made.seal(&mut |_| {}) {
                    tracing::error!(backup = made.name(), %error, "the backup has no digests yet; `wemixvisor backup verify --seal` adds them");
                }
            }
            prune(&settings.dir, settings.keep, settings.max_age);
        });
    }
}

fn tell(teller: Option<&webhook::Sender>, kind: Kind, detail: &str) {
    if let Some(teller) = teller {
        teller.tell(webhook::Event::new(kind, detail));
    }
}

fn prune(dir: &Path, keep: u32, max_age: Span) {
    match backup::prune(dir, keep, max_age, clock::now(), false) {
        Ok(pruned) => {
            for name in &pruned.removed {
                tracing::info!(backup = %name.display(), "removed: more or older than [backup] keeps");
            }
        }
        Err(error) => tracing::error!(%error, "backups could not be pruned"),
    }
}

/// Makes sure that the release of a plan is in its place.
async fn stage_plan(home: &Home, settings: &Settings, plan: &Plan) -> Result<StagedRelease, Fault> {
    let binary = home.binary(&plan.name);
    let installed = if plan::binary::is_there(&binary) {
        let hashed = binary.clone();
        let digest = tokio::task::spawn_blocking(move || files::digest_of(&hashed)).await;
        let digest = digest.map_err(std::io::Error::other).and_then(|d| d);
        let digest = digest
            .map_err(|e| clock::fault(FaultCode::BinaryUnusable, format!("{}: {e}", binary.display())))?;
        InstalledRelease { name: plan.name.clone(), sequence: 0, digest }
    } else if settings.download.allowed && !plan.info.trim().is_empty() {
        let (trust, variant) = (settings.trust.as_ref(), settings.node.variant.as_deref());
        fetch::stage_plan(home, &settings.download, trust, variant, &plan.name, &plan.info, |_, _| {}).await?
    } else {
        return Err(clock::fault(FaultCode::ArtifactUnavailable, not_here(&binary, settings, plan)));
    };
    let manifest = manifest_of(home, &installed);
    let irreversible = !settings.upgrade.rollback || manifest.as_ref().is_some_and(|m| m.irreversible);
    // The way back ends where the new rules begin, which a manifest knows better than a plan.
    let activation_height = manifest.and_then(|m| m.activation.height()).or(plan.height);
    Ok(StagedRelease { installed, artifact: None, activation_height, irreversible, at_height: false })
}

/// The manifest beside a release that came with one.
fn manifest_of(home: &Home, release: &InstalledRelease) -> Option<Manifest> {
    let bytes = std::fs::read(home.manifest(&release.name)).ok().filter(|_| release.sequence > 0)?;
    Manifest::read(&bytes).ok()
}

fn not_here(binary: &Path, settings: &Settings, plan: &Plan) -> String {
    let how = match (settings.download.allowed, plan.info.trim().is_empty()) {
        (false, true) => "",
        (false, false) => " or allow downloads ([download] allowed, DAEMON_ALLOW_DOWNLOAD_BINARIES)",
        (true, _) => "; the plan names no place to fetch it from",
    };
    format!("there is no executable {}: wemixvisor add-upgrade {} FILE{how}", binary.display(), plan.title)
}

fn backup_fault(error: impl std::fmt::Display) -> Fault {
    clock::fault(FaultCode::BackupFailed, error)
}

/// Whether a backup is to be made now.
fn wanted(settings: &Settings, plan: &backup::Plan) -> bool {
    match settings.backup.before_upgrade {
        BackupBefore::Always => true,
        BackupBefore::Reflink => plan.reflink,
        BackupBefore::Never => false,
    }
}

/// Bytes that the backup before the switch will need; fails while the node still runs where there are too few.
fn room_for_backup(home: &Home, settings: &Settings) -> Result<u64, Fault> {
    if settings.backup.before_upgrade == BackupBefore::Never {
        return Ok(0);
    }
    let plan = backup::plan(home, settings).map_err(backup_fault)?;
    if wanted(settings, &plan) {
        plan.check_space().map_err(|e| clock::fault(FaultCode::DiskFull, e))?;
    }
    // The backup's own check knows its file system, which may be another than the supervisor's.
    Ok(0)
}

async fn back_up(
    home: &Arc<Home>,
    settings: &Settings,
    release: &InstalledRelease,
    meta: backup::Meta,
) -> Result<Option<Backup>, Fault> {
    if settings.backup.before_upgrade == BackupBefore::Never {
        return Ok(None);
    }
    let (home, settings, label) = (Arc::clone(home), settings.clone(), format!("pre-{}", release.name));
    let made = tokio::task::spawn_blocking(move || -> Result<Option<Backup>, Fault> {
        let plan = backup::plan(&home, &settings).map_err(backup_fault)?;
        if !wanted(&settings, &plan) {
            tracing::warn!(
                "no backup: the file system cannot share blocks, and [backup] before_upgrade is \"reflink\""
            );
            return Ok(None);
        }
        plan.check_space().map_err(|e| clock::fault(FaultCode::DiskFull, e))?;
        backup::snapshot(&plan, &label, &meta, &mut |_| {}).map(Some).map_err(backup_fault)
    });
    made.await.unwrap_or_else(|e| Err(backup_fault(e)))
}
