//! From an approved upgrade plan to a draft rollout. Governance never starts a rollout by itself: it makes a draft, which a
//! policy with `auto_approve` or a person approves. Every failed check is stored with the proposal, with its code.
use crate::api::body::{ProposalCheck, VerbRequest};
use crate::api::{draft_of, draft_writes, store_release, verb_on, verify_release};
use crate::artifacts::{ArtifactError, Mirror};
use crate::config::Config;
use crate::fleet::{CheckRecord, Fleet, FleetError, Write, now};
use common::chain::Hash32;
use common::id::{PolicyName, RolloutId};
use common::manifest::MAX_MANIFEST_BYTES;
use common::policy::PolicyFile;
use common::release::Digest;
use common::rollout::{Origin, Verb};
use indexer::proposal::{Proposal, ProposalState};
use indexer::run::{IndexError, IndexStatus, Indexer};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Time between tries of a check that failed for a reason that may pass.
const RETRY: Duration = Duration::from_secs(5);

/// Why an approved plan is no draft.
#[derive(Debug)]
struct Refusal {
    code: String,
    detail: String,
    transient: bool,
}

impl Refusal {
    fn of(code: &str, detail: impl Into<String>) -> Self {
        Refusal { code: code.into(), detail: detail.into(), transient: false }
    }
}

impl From<ArtifactError> for Refusal {
    fn from(e: ArtifactError) -> Self {
        Refusal { code: e.code().into(), detail: e.to_string(), transient: e.transient() }
    }
}

impl From<FleetError> for Refusal {
    fn from(e: FleetError) -> Self {
        match e {
            FleetError::Refused { code, detail, .. } => {
                // An operator can end the other rollout or mend the policy; nothing else changes by itself.
                let transient = matches!(code, "other-rollout" | "policy");
                Refusal { code: code.into(), detail, transient }
            }
            other => Refusal { code: "store".into(), detail: other.to_string(), transient: true },
        }
    }
}

/// The task that turns approved plans into drafts.
#[derive(Debug)]
pub struct Governance {
    config: Config,
    fleet: Arc<Fleet>,
    mirror: Mirror,
    index: Arc<Indexer>,
    policy: (PolicyName, String),
    auto_approve: bool,
}

impl Governance {
    /// Reads the policy for drafts.
    ///
    /// # Errors
    /// When the policy cannot be read or parsed, in words.
    pub fn new(
        config: &Config,
        fleet: Arc<Fleet>,
        mirror: Mirror,
        index: Arc<Indexer>,
    ) -> Result<Self, String> {
        let named = config.governance.as_ref().map(|g| g.policy.clone()).unwrap_or_default();
        let (name, text) = match common::policy::builtin(&named) {
            Some(text) => (named.clone(), text.to_owned()),
            None => {
                let text = std::fs::read_to_string(&named).map_err(|e| format!("{named}: {e}"))?;
                let stem = Path::new(&named).file_stem().map(|s| s.to_string_lossy().to_lowercase());
                (stem.unwrap_or_default(), text)
            }
        };
        let name = PolicyName::new(name).map_err(|e| e.to_string())?;
        let auto_approve = PolicyFile::parse(&text).map_err(|e| format!("{named}: {e}"))?.auto_approve();
        Ok(Governance { config: config.clone(), fleet, mirror, index, policy: (name, text), auto_approve })
    }

    /// All proposals of the index.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn proposals(&self) -> Result<Vec<Proposal>, IndexError> {
        self.index.proposals()
    }

    /// Where the index stands.
    pub fn index_status(&self) -> IndexStatus {
        self.index.status()
    }

    /// Whether the plan a rollout came from was cancelled on chain.
    pub fn is_cancelled(&self, origin: &Origin) -> bool {
        let Origin::Proposal { plan_id } = origin else { return false };
        let found = self.index.proposal(*plan_id).ok().flatten();
        found.is_some_and(|p| p.state == ProposalState::Cancelled)
    }

    /// Runs until shutdown: a pass after every change of the index, and again after a while for what may pass.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut changed = self.index.changed();
        loop {
            self.pass().await;
            tokio::select! {
                () = shutdown.cancelled() => return,
                _changed = changed.changed() => {}
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }

    async fn pass(&self) {
        let proposals = match self.index.proposals() {
            Ok(p) => p,
            Err(e) => return tracing::error!(error = %e, "the governance index cannot be read"),
        };
        for proposal in proposals.iter().filter(|p| p.state == ProposalState::Approved && p.final_) {
            if let Err(e) = self.handle(proposal).await {
                tracing::error!(plan = %proposal.plan_id, error = %e, "an approved plan was not handled");
            }
        }
        // A cancelled plan is known to the planner only by asking: every pass of the reconciliation does.
        self.fleet.poke();
    }

    async fn handle(&self, proposal: &Proposal) -> Result<(), FleetError> {
        let before = self.fleet.known().checks.get(&proposal.plan_id).map(|r| r.value.clone());
        let rollout = match before {
            Some(CheckRecord { rollout: Some(id), .. }) => Some(id),
            Some(CheckRecord { check, .. }) if !check.transient => return Ok(()),
            _ => None,
        };
        let id = match rollout {
            Some(id) => id,
            None => match self.draft(proposal).await {
                Ok(id) => id,
                Err(refusal) => return self.note(proposal, refusal).await,
            },
        };
        self.approve(&id).await
    }

    /// Checks everything and stores the draft with the proposal in one commit, so that a plan is never drafted twice.
    async fn draft(&self, proposal: &Proposal) -> Result<RolloutId, Refusal> {
        let text = self.mirror.fetch_text(&proposal.uri, MAX_MANIFEST_BYTES).await.map_err(unavailable)?;
        let found = Digest::of(text.as_bytes());
        if found != proposal.manifest_hash {
            let detail =
                format!("the manifest has digest {found}, the chain says {}", proposal.manifest_hash);
            return Err(Refusal::of("manifest-mismatch", detail));
        }
        let signatures_at = format!("{}.minisig", proposal.uri);
        let signatures =
            self.mirror.fetch_text(&signatures_at, MAX_MANIFEST_BYTES).await.map_err(unavailable)?;
        let record = verify_release(self.config.trust.as_ref(), &self.config.network, &text, &signatures)?;
        match record.manifest.activation.height() {
            Some(height) if height != proposal.height => {
                let detail =
                    format!("the manifest is for height {height}, the chain says {}", proposal.height);
                return Err(Refusal::of("height-mismatch", detail));
            }
            _ => {}
        }
        let view = self.fleet.chain().ok_or(Refusal {
            code: "chain-view-missing".into(),
            detail: "no chain view yet".into(),
            transient: true,
        })?;
        if record.manifest.activation.height().is_some_and(|h| h <= view.head.height) {
            let detail = format!("height {} is behind the head, {}", proposal.height, view.head.height);
            return Err(Refusal::of("activation-passed", detail));
        }
        for artifact in &record.manifest.artifacts {
            self.mirror.fetch(artifact).await?;
        }
        let record = store_release(&self.fleet, record).await?;
        let origin = Origin::Proposal { plan_id: proposal.plan_id };
        let policy = (&self.policy.0, self.policy.1.as_str());
        let made = self
            .fleet
            .transact(|known| {
                let rollout = draft_of(known, &record.release.name, policy, origin)?;
                let mut writes = draft_writes(known, &rollout);
                let check = ProposalCheck {
                    code: "ok".into(),
                    detail: format!("drafted as {}", rollout.id),
                    at: now(),
                    transient: false,
                };
                let done = CheckRecord { check, rollout: Some(rollout.id.clone()) };
                writes.push(Write::Check(proposal.plan_id, done));
                Ok((writes, rollout.id))
            })
            .await?;
        tracing::info!(plan = %proposal.plan_id, rollout = %made, "an approved plan became a draft");
        Ok(made)
    }

    /// Stores why there is no draft, unless that is what is stored already.
    async fn note(&self, proposal: &Proposal, refusal: Refusal) -> Result<(), FleetError> {
        let plan: Hash32 = proposal.plan_id;
        self.fleet
            .transact(|known| {
                let same = known.checks.get(&plan).is_some_and(|r| {
                    r.value.check.code == refusal.code && r.value.check.detail == refusal.detail
                });
                if same {
                    return Ok((vec![], ()));
                }
                tracing::warn!(%plan, code = refusal.code, "an approved plan is refused: {}", refusal.detail);
                let Refusal { code, detail, transient } = refusal;
                let check = ProposalCheck { code, detail, at: now(), transient };
                Ok((vec![Write::Check(plan, CheckRecord { check, rollout: None })], ()))
            })
            .await
    }

    /// Approves a draft in the policy's name when the policy says so.
    async fn approve(&self, id: &RolloutId) -> Result<(), FleetError> {
        let waits = {
            let known = self.fleet.known();
            known.rollouts.get(id).is_some_and(|r| r.value.phase == common::rollout::Phase::Draft)
        };
        if !(waits && self.auto_approve) {
            return Ok(());
        }
        let by = format!("policy:{}", self.policy.0);
        let request = VerbRequest { verb: Verb::Approve, why: "auto_approve".into(), revision: None };
        verb_on(&self.fleet, id, &request, &by).await
    }
}

fn unavailable(e: ArtifactError) -> Refusal {
    let refusal = Refusal::from(e);
    if refusal.code == "artifact-unavailable" {
        return Refusal { code: "manifest-unavailable".into(), ..refusal };
    }
    refusal
}
