//! Rollouts and proposals.
use super::body::{
    EventList, NewRollout, ProposalList, ProposalStatus, RolloutList, RolloutStatus, VerbRequest,
};
use super::{App, Principal, Trouble};
use crate::auth::OperatorRole;
use crate::fleet::{Fleet, FleetError, Known, Write, now};
use crate::reconcile::input_for;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use common::chain::Hash32;
use common::fleet::NodeRecord;
use common::id::{PolicyName, ReleaseName, RolloutId};
use common::planner::{Level, Preview, preview};
use common::policy::PolicyFile;
use common::rollout::{Origin, Reason, Rollout, RolloutEvent, Verb};
use std::sync::Arc;

/// Drafts a rollout of a stored release under a policy.
///
/// # Errors
/// A refusal with its code.
pub(crate) fn draft_of(
    known: &Known,
    release: &ReleaseName,
    policy: (&PolicyName, &str),
    origin: Origin,
) -> Result<Rollout, FleetError> {
    let record = known.releases.get(release).ok_or_else(|| {
        let detail = format!("release {release} was not added");
        FleetError::refused_with(404, "no-such-release", detail, "wemixfleet release add MANIFEST")
    })?;
    let refuse = |e: String| FleetError::refused(422, "policy", format!("policy {}: {e}", policy.0));
    let nodes: Vec<NodeRecord> = known.nodes.values().map(|r| r.value.clone()).collect();
    let file = PolicyFile::parse(policy.1).map_err(|e| refuse(e.to_string()))?;
    let resolved = file.resolve(policy.0.clone(), &nodes).map_err(|e| refuse(e.to_string()))?;
    if let Some(other) =
        known.rollouts.values().find(|r| !r.value.is_over() && r.value.network == resolved.network)
    {
        let reason = Reason::OtherRollout { rollout: other.value.id.clone() };
        let detail = reason.message();
        let hint = format!("finish or abort it: wemixfleet rollout status {}", other.value.id);
        return Err(FleetError::refused_with(409, "other-rollout", detail, hint));
    }
    let id = RolloutId::new(format!("r{}", known.next_rollout()))
        .map_err(|e| FleetError::refused(500, "rollout-id", e.to_string()))?;
    let (release, manifest) = (record.value.release.clone(), record.value.manifest.clone());
    Ok(Rollout::draft(id, release, manifest, resolved, origin, now()))
}

/// The writes that store a new draft.
pub(crate) fn draft_writes(known: &Known, rollout: &Rollout) -> Vec<Write> {
    let event = RolloutEvent::PhaseEntered { phase: rollout.phase.clone() };
    vec![
        Write::NextRollout(known.next_rollout() + 1),
        Write::Rollout(Box::new(rollout.clone())),
        Write::Event { at: now(), rollout: rollout.id.clone(), event },
    ]
}

fn preview_of(app: &App, rollout: &Rollout) -> Preview {
    preview(&input_for(app, rollout.clone()))
}

fn status(app: &App, stored: Rollout) -> RolloutStatus {
    let preview = preview_of(app, &stored);
    match app.fleet.plan_of(&stored.id) {
        // A plan older than what is stored knows less than the store: a verb came in between.
        Some((as_of, plan)) if plan.rollout.revision >= stored.revision => {
            RolloutStatus { quorum: plan.quorum.clone(), rollout: plan.rollout, preview, as_of }
        }
        _ => RolloutStatus { quorum: preview.quorum.clone(), rollout: stored, preview, as_of: now() },
    }
}

pub(super) async fn draft(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    body: Result<Json<NewRollout>, JsonRejection>,
) -> Result<Json<RolloutStatus>, Trouble> {
    let Json(new) = body?;
    let origin = Origin::Operator { name: principal.name() };
    let rollout = app
        .fleet
        .transact(|known| {
            let rollout = draft_of(known, &new.release, (&new.policy_name, &new.policy), origin)?;
            let writes = if new.dry_run { vec![] } else { draft_writes(known, &rollout) };
            Ok((writes, rollout))
        })
        .await?;
    Ok(Json(status(&app, rollout)))
}

pub(super) async fn list(State(app): State<Arc<App>>) -> Json<RolloutList> {
    let mut rollouts: Vec<_> = app.fleet.known().rollouts.values().map(|r| r.value.clone()).collect();
    rollouts.sort_by_key(|r| (r.created_at, r.id.clone()));
    Json(RolloutList { rollouts })
}

fn find(fleet: &Fleet, id: &RolloutId) -> Result<Rollout, FleetError> {
    let known = fleet.known();
    known.rollouts.get(id).map(|r| r.value.clone()).ok_or_else(|| {
        FleetError::refused_with(
            404,
            "no-such-rollout",
            format!("there is no rollout {id}"),
            "wemixfleet rollout list",
        )
    })
}

pub(super) async fn show(
    State(app): State<Arc<App>>,
    id: Result<Path<RolloutId>, PathRejection>,
) -> Result<Json<RolloutStatus>, Trouble> {
    let Path(id) = id?;
    let stored = find(&app.fleet, &id)?;
    Ok(Json(status(&app, stored)))
}

pub(super) async fn verb(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    id: Result<Path<RolloutId>, PathRejection>,
    body: Result<Json<VerbRequest>, JsonRejection>,
) -> Result<Json<RolloutStatus>, Trouble> {
    let (Path(id), Json(request)) = (id?, body?);
    let strong = matches!(request.verb, Verb::Approve | Verb::Rollback);
    if strong && !matches!(principal, Principal::Operator { role, .. } if role >= OperatorRole::Approver) {
        let detail = format!("{} needs the role approver", request.verb.name());
        return Err(Trouble::new(403, "role", detail));
    }
    if request.why.len() > 512 || request.why.chars().any(char::is_control) {
        return Err(Trouble::new(422, "why", "the reason has at most 512 printable characters"));
    }
    if request.verb == Verb::Approve {
        let verdict = preview_of(&app, &find(&app.fleet, &id)?).verdict;
        if verdict.level == Level::Infeasible {
            let detail = "the activation height leaves too little time to begin";
            return Err(Trouble::new(409, "deadline-infeasible", detail).hint("ask for a later height"));
        }
    }
    apply_verb(&app.fleet, &id, &request, &principal.name()).await?;
    let stored = find(&app.fleet, &id)?;
    Ok(Json(status(&app, stored)))
}

/// Carries out a verb on the stored rollout.
///
/// # Errors
/// A refusal when the table of legal verbs does not have it, or the revision is another.
pub(crate) async fn apply_verb(
    fleet: &Fleet,
    id: &RolloutId,
    request: &VerbRequest,
    by: &str,
) -> Result<(), FleetError> {
    fleet
        .transact(|known| {
            let row = known.rollouts.get(id).ok_or_else(|| {
                FleetError::refused(404, "no-such-rollout", format!("there is no rollout {id}"))
            })?;
            if request.revision.is_some_and(|r| r != row.value.revision) {
                let detail = format!("{id} has revision {} by now", row.value.revision);
                return Err(FleetError::refused_with(
                    409,
                    "conflict",
                    detail,
                    "look again before you decide",
                ));
            }
            let at = now();
            let (next, events) = row
                .value
                .apply(request.verb, by, &request.why, at)
                .map_err(|e| FleetError::refused(409, "verb-refused", e.to_string()))?;
            let mut writes = vec![Write::Rollout(Box::new(next))];
            writes.extend(events.into_iter().map(|event| Write::Event { at, rollout: id.clone(), event }));
            Ok((writes, ()))
        })
        .await
}

/// Query of the history.
#[derive(Debug, serde::Deserialize)]
pub(super) struct After {
    #[serde(default)]
    after: u64,
}

pub(super) async fn events(
    State(app): State<Arc<App>>,
    id: Result<Path<RolloutId>, PathRejection>,
    query: Result<Query<After>, QueryRejection>,
) -> Result<Json<EventList>, Trouble> {
    let (Path(id), Query(query)) = (id?, query?);
    find(&app.fleet, &id)?;
    let known = app.fleet.known();
    let newer = known.events.range(query.after.saturating_add(1)..).map(|(_, e)| e);
    Ok(Json(EventList { events: newer.filter(|e| e.rollout == id).take(1000).cloned().collect() }))
}

pub(super) async fn proposals(State(app): State<Arc<App>>) -> Result<Json<ProposalList>, Trouble> {
    Ok(Json(ProposalList { proposals: all_proposals(&app)? }))
}

fn all_proposals(app: &App) -> Result<Vec<ProposalStatus>, Trouble> {
    let Some(governance) = &app.governance else { return Ok(Vec::new()) };
    let proposals = governance.proposals().map_err(|e| Trouble::new(500, "index", e.to_string()))?;
    let known = app.fleet.known();
    let with_check = |proposal: indexer::proposal::Proposal| {
        let record = known.checks.get(&proposal.plan_id).map(|r| r.value.clone());
        let (check, rollout) = record.map_or((None, None), |r| (Some(r.check), r.rollout));
        ProposalStatus { proposal, check, rollout }
    };
    Ok(proposals.into_iter().map(with_check).collect())
}

pub(super) async fn proposal(
    State(app): State<Arc<App>>,
    id: Result<Path<Hash32>, PathRejection>,
) -> Result<Json<ProposalStatus>, Trouble> {
    let Path(id) = id?;
    let found = all_proposals(&app)?.into_iter().find(|p| p.proposal.plan_id == id);
    found.map(Json).ok_or_else(|| Trouble::new(404, "no-such-proposal", format!("there is no proposal {id}")))
}
