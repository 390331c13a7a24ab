//! The loop with nothing in it: load, plan, check, save if different, again until nothing changes. Woken by pokes that
//! carry no facts and by a tick; every pass looks at everything.
use crate::api::App;
use crate::fleet::{FleetError, Known, Write, now};
use common::id::RolloutId;
use common::planner::{Action, NodeView, OutstandingPermission, Plan, PlanInput, check, plan};
use common::rollout::{Control, Reason, Rollout, RolloutEvent};
use common::wire::v1::Instruction;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Time between passes without a poke.
const TICK: Duration = Duration::from_secs(1);
/// Least time between passes; a thousand reports a second are one pass.
const PAUSE: Duration = Duration::from_millis(50);
/// Plans of one rollout in one pass; staging 10,000 nodes takes as many as 64 fit into.
const MOST_PLANS: usize = 200;

/// Everything the planner decides on, as of now.
pub fn input_for(app: &App, rollout: Rollout) -> PlanInput {
    let known = app.fleet.known();
    let cancelled_on_chain = app.governance.as_ref().is_some_and(|g| g.is_cancelled(&rollout.origin));
    let nodes = known
        .nodes
        .iter()
        .filter(|(_, row)| row.value.network == rollout.network)
        .map(|(name, row)| {
            let desired = known.desired.get(name).map_or_else(Instruction::none, |r| r.value.clone());
            (
                name.clone(),
                NodeView { record: row.value.clone(), observed: app.fleet.observation(name), desired },
            )
        })
        .collect();
    PlanInput {
        now: now(),
        nodes,
        permissions: known.permissions.iter().map(|(n, r)| (n.clone(), r.value.clone())).collect(),
        chain: app.fleet.chain().map(|v| (*v).clone()),
        cancelled_on_chain,
        next_permission: known.next_permission(),
        silent_after: app.config.agents.silent_after,
        rollout,
    }
}

/// The writes that carry out a plan. `Conflict` when the rollout moved on since.
fn writes_of(known: &Known, plan: &Plan) -> Result<Vec<Write>, FleetError> {
    let id = &plan.rollout.id;
    let current = known.rollouts.get(id).ok_or(FleetError::Conflict)?;
    if current.value.revision != plan.parent {
        return Err(FleetError::Conflict);
    }
    let mut instructions: BTreeMap<_, Instruction> = BTreeMap::new();
    let mut permissions: BTreeMap<_, Option<OutstandingPermission>> = BTreeMap::new();
    let mut next_permission = known.next_permission();
    for action in &plan.actions {
        match action {
            Action::Instruct { node, release, goal, limits } => {
                let last = known.desired.get(node).map_or(0, |r| r.value.generation);
                let instruction = Instruction {
                    generation: last + 1,
                    rollout: release.as_ref().map(|_| id.clone()),
                    release: release.clone(),
                    goal: goal.clone(),
                    limits: *limits,
                };
                instructions.insert(node.clone(), instruction);
            }
            Action::Grant { node, permission } => {
                next_permission = next_permission.max(permission.id + 1);
                let outstanding =
                    OutstandingPermission { permission: permission.clone(), rollout: Some(id.clone()) };
                permissions.insert(node.clone(), Some(outstanding));
            }
            Action::Free { node, permission } => {
                // Only the permission that was decided on is taken back, never one granted since.
                let stored = known.permissions.get(node).map(|r| r.value.permission.id);
                if !permissions.contains_key(node) && stored == Some(*permission) {
                    permissions.insert(node.clone(), None);
                }
            }
        }
    }
    let mut writes = vec![Write::Rollout(Box::new(plan.rollout.clone()))];
    writes.extend(instructions.into_iter().map(|(node, i)| Write::Desired(node, i)));
    writes.extend(permissions.into_iter().map(|(node, p)| Write::Permission(node, p)));
    if next_permission != known.next_permission() {
        writes.push(Write::NextPermission(next_permission));
    }
    Ok(writes)
}

/// Runs the passes.
#[derive(Debug)]
pub struct Reconciler {
    app: Arc<App>,
}

impl Reconciler {
    /// A reconciler of this coordinator's fleet.
    pub fn new(app: Arc<App>) -> Self {
        Reconciler { app }
    }

    /// Runs until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        loop {
            let poked = tokio::time::timeout(TICK, self.app.fleet.poked());
            tokio::select! {
                () = shutdown.cancelled() => return,
                _poke_or_tick = poked => {}
            }
            let began = Instant::now();
            self.pass().await;
            self.app.metrics.reconcile_seconds.observe(began.elapsed().as_secs_f64());
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// One pass over all rollouts that are not over.
    pub async fn pass(&self) {
        let ids: Vec<RolloutId> = {
            let known = self.app.fleet.known();
            known.rollouts.values().filter(|r| !r.value.is_over()).map(|r| r.value.id.clone()).collect()
        };
        for id in ids {
            for _ in 0..MOST_PLANS {
                match self.step(&id).await {
                    Ok(true) => {}
                    Ok(false) => break,
                    // Somebody else wrote first: the next round reads what they wrote.
                    Err(FleetError::Conflict) => tracing::debug!(rollout = %id, "planned on an older state"),
                    Err(e) => {
                        tracing::error!(rollout = %id, error = %e, "the plan was not stored");
                        break;
                    }
                }
            }
        }
    }

    /// Plans once. Gives whether something was stored.
    async fn step(&self, id: &RolloutId) -> Result<bool, FleetError> {
        let stored = self.app.fleet.known().rollouts.get(id).map(|r| r.value.clone());
        let Some(stored) = stored.filter(|r| !r.is_over()) else { return Ok(false) };
        let input = input_for(&self.app, stored);
        let made = plan(&input);
        let findings = check(&input, &made);
        if !findings.is_empty() {
            return self.refuse(&input, findings.iter().map(ToString::to_string).collect()).await;
        }
        if made.changed {
            self.store(&made).await?;
        }
        let changed = made.changed;
        self.app.fleet.publish_plan(input.now, made);
        Ok(changed)
    }

    /// Stores a plan with as much of its history as the commit takes, then the rest of the history.
    async fn store(&self, made: &Plan) -> Result<(), FleetError> {
        let entry = |event: &RolloutEvent| {
            tracing::info!(rollout = %made.rollout.id, event = ?event, "plan");
            Write::Event { at: now(), rollout: made.rollout.id.clone(), event: event.clone() }
        };
        let mut entries: Vec<Write> = made.events.iter().map(entry).collect();
        let rest = self
            .app
            .fleet
            .transact(|known| {
                let mut writes = writes_of(known, made)?;
                let room = crate::store::MAX_OPS.saturating_sub(writes.len() + 1).min(entries.len());
                writes.extend(entries.drain(..room));
                Ok((writes, entries))
            })
            .await?;
        self.app.metrics.plans.inc();
        for chunk in rest.chunks(crate::store::MAX_OPS - 1) {
            self.app.fleet.transact(|_| Ok((chunk.to_vec(), ()))).await?;
        }
        Ok(())
    }

    /// The second opinion refused the plan: hold, and do nothing else.
    async fn refuse(&self, input: &PlanInput, findings: Vec<String>) -> Result<bool, FleetError> {
        self.app.metrics.check_failures.inc();
        let finding = findings.join("; ");
        tracing::error!(rollout = %input.rollout.id, finding, "the second opinion refused a plan; nothing was done");
        let reason = Reason::CheckFailed { finding };
        if matches!(&input.rollout.control, Control::Held { reason: Reason::CheckFailed { .. }, .. }) {
            return Ok(false);
        }
        let mut held = input.rollout.clone();
        held.revision += 1;
        held.control = Control::Held { reason: reason.clone(), since: input.now };
        held.waiting = vec![reason.clone()];
        let (at, rollout, parent) = (input.now, held.id.clone(), input.rollout.revision);
        self.app
            .fleet
            .transact(|known| match known.rollouts.get(&rollout) {
                Some(row) if row.value.revision == parent => {
                    let event = RolloutEvent::Held { reason };
                    Ok((vec![Write::Rollout(Box::new(held)), Write::Event { at, rollout, event }], ()))
                }
                _ => Err(FleetError::Conflict),
            })
            .await?;
        Ok(false)
    }
}
