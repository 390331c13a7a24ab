//! The verbs: the table of what a person can do in which state, and what each does.
use super::{
    Control, NodeProgress, NodeState, Origin, Outcome, Phase, Reason, Rollout, RolloutEvent, StageProgress,
    StageState, Verb, VerbRefused,
};
use crate::id::RolloutId;
use crate::manifest::Manifest;
use crate::policy::{Promote, ResolvedPolicy};
use crate::release::ReleaseRef;
use crate::time::{Span, UnixMs};

impl Rollout {
    /// A rollout nobody has approved yet.
    pub fn draft(
        id: RolloutId,
        release: ReleaseRef,
        manifest: Manifest,
        policy: ResolvedPolicy,
        origin: Origin,
        now: UnixMs,
    ) -> Rollout {
        let stages = policy
            .stages
            .iter()
            .map(|_| StageProgress {
                state: StageState::Waiting,
                since: now,
                soak_from: None,
                promoted: false,
            })
            .collect();
        let mut nodes = std::collections::BTreeMap::new();
        for (stage, configured) in policy.stages.iter().enumerate() {
            for name in &configured.nodes {
                nodes.insert(name.clone(), NodeProgress::selected(stage, now));
            }
        }
        Rollout {
            id,
            network: policy.network.clone(),
            release,
            manifest,
            policy,
            origin,
            phase: Phase::Draft,
            control: Control::Run,
            waiting: vec![Reason::ApprovalMissing],
            stages,
            nodes,
            revision: 0,
            created_at: now,
            progressed_at: now,
            min_slack: None,
            baseline_interval_ms: None,
        }
    }

    /// Carries out a verb; the result is to be stored if nobody stored another revision meanwhile.
    ///
    /// # Errors
    /// [`VerbRefused`] when the table of legal verbs does not have it for this state.
    pub fn apply(
        &self,
        verb: Verb,
        by: &str,
        why: &str,
        now: UnixMs,
    ) -> Result<(Rollout, Vec<RolloutEvent>), VerbRefused> {
        self.allows(verb).map_err(|why| VerbRefused { verb, why })?;
        let mut next = self.clone();
        next.revision += 1;
        let mut events =
            vec![RolloutEvent::Verb { verb: verb.name().to_owned(), by: by.to_owned(), why: why.to_owned() }];
        match verb {
            Verb::Approve => {
                next.phase = Phase::Approved;
                next.progressed_at = now;
                events.push(RolloutEvent::PhaseEntered { phase: Phase::Approved });
            }
            Verb::Pause => {
                next.control = Control::Paused { by: by.to_owned(), why: why.to_owned(), since: now };
            }
            Verb::Resume => next.resume(now),
            Verb::Promote => next.promote(now),
            Verb::Retry => next.retry(now),
            Verb::Abort if self.phase == Phase::Draft => {
                next.phase = Phase::Done(Outcome::Aborted);
                next.control = Control::Run;
                next.waiting.clear();
                events.push(RolloutEvent::Ended { outcome: Outcome::Aborted });
            }
            Verb::Abort => next.redirect(Control::Aborting { by: by.to_owned() }, now),
            Verb::Rollback => next.redirect(Control::RollingBack { by: by.to_owned() }, now),
        }
        Ok((next, events))
    }

    /// The table of legal verbs. `Err` is the reason in one sentence.
    fn allows(&self, verb: Verb) -> Result<(), String> {
        let refuse = |why: &str| Err(why.to_owned());
        match (verb, &self.phase, &self.control) {
            (_, Phase::Done(_), _) => refuse("the rollout is over"),
            (Verb::Approve, Phase::Draft, _) | (Verb::Abort, Phase::Draft, _) => Ok(()),
            (Verb::Approve, ..) => refuse("it is approved already"),
            (_, Phase::Draft, _) => refuse("the draft is not approved yet"),
            (Verb::Pause, _, Control::Run) => Ok(()),
            (Verb::Pause, _, Control::Paused { .. }) => refuse("it is paused already"),
            (Verb::Pause, _, Control::Held { .. }) => refuse("it holds already; nothing new begins"),
            (Verb::Pause, ..) => refuse("it is being aborted or rolled back"),
            (Verb::Resume, _, Control::Paused { .. }) => Ok(()),
            (Verb::Resume, _, Control::Held { reason: Reason::NodeFailed { node, .. }, .. }) => {
                Err(format!("{node} failed: retry, abort or roll back"))
            }
            (Verb::Resume, _, Control::Held { .. }) => Ok(()),
            (Verb::Resume, ..) => refuse("it is neither paused nor held"),
            (Verb::Promote, _, Control::Run) => self.allows_promote(),
            (Verb::Promote, ..) => refuse("it is paused, held or being ended"),
            (Verb::Retry, _, Control::Run | Control::Held { .. }) => self.allows_retry(),
            (Verb::Retry, ..) => refuse("it is paused or being ended; resume it first"),
            (Verb::Abort, _, Control::Aborting { .. }) => refuse("it is being aborted already"),
            (Verb::Abort, ..) => Ok(()),
            (Verb::Rollback, _, Control::RollingBack { .. }) => refuse("it is being rolled back already"),
            (Verb::Rollback, ..) if self.manifest.irreversible => {
                refuse("the release is irreversible: its manifest says so")
            }
            (Verb::Rollback, ..) => Ok(()),
        }
    }

    fn allows_promote(&self) -> Result<(), String> {
        if self.promotable().next().is_some() {
            Ok(())
        } else {
            Err("no stage has begun that waits for a person".to_owned())
        }
    }

    fn promotable(&self) -> impl Iterator<Item = usize> + '_ {
        self.policy.stages.iter().zip(&self.stages).enumerate().filter_map(|(i, (configured, progress))| {
            let open = configured.promote == Promote::Manual && !progress.promoted;
            (open && matches!(progress.state, StageState::Soaking | StageState::Gate)).then_some(i)
        })
    }

    fn allows_retry(&self) -> Result<(), String> {
        let late = matches!(&self.control, Control::Held { reason: Reason::DeadlinePassed { .. }, .. });
        if late || self.nodes.values().any(|n| self.retryable(n)) {
            return Ok(());
        }
        match self.nodes.iter().find(|(_, n)| n.state == NodeState::SwitchFailed) {
            Some((name, _)) => Err(format!("{name} is not proved back on its old release yet")),
            None => Err("no node has failed".to_owned()),
        }
    }

    /// A failed node whose slot is free, or one whose seals can be waited for once more.
    fn retryable(&self, node: &NodeProgress) -> bool {
        use NodeState as S;
        let failed = matches!(
            node.state,
            S::StageFailed | S::PreflightFailed | S::SwitchFailed | S::RolledBack | S::Deferred
        );
        let open = self.stages.get(node.stage).is_some_and(|s| s.state <= StageState::Switching);
        (failed && node.permission.is_none() && open) || node.state == S::NotSealing
    }

    fn retry(&mut self, now: UnixMs) {
        self.leave_hold(now);
        let chosen: Vec<_> =
            self.nodes.iter().filter(|(_, n)| self.retryable(n)).map(|(name, _)| name.clone()).collect();
        for name in chosen {
            let Some(node) = self.nodes.get_mut(&name) else { continue };
            if node.state == NodeState::NotSealing {
                node.state = NodeState::Sealing;
                node.since = now;
            } else {
                *node = NodeProgress::selected(node.stage, now);
            }
        }
    }

    /// The wait for a person is over; the progress clock starts again.
    fn promote(&mut self, now: UnixMs) {
        self.progressed_at = now;
        let stages: Vec<_> = self.promotable().collect();
        for i in stages {
            self.stages[i].promoted = true;
        }
    }

    fn resume(&mut self, now: UnixMs) {
        if let Control::Paused { since, .. } = self.control {
            self.shift_clocks(now.since(since), now);
            self.control = Control::Run;
        } else {
            self.leave_hold(now);
            for node in self.nodes.values_mut() {
                if node.state == NodeState::NotSealing {
                    node.state = NodeState::Sealing;
                }
            }
        }
    }

    /// Leaves a hold: the deadlines of whatever is under way start again.
    fn leave_hold(&mut self, now: UnixMs) {
        self.control = Control::Run;
        self.progressed_at = now;
        for node in self.nodes.values_mut().filter(|n| n.state.under_way()) {
            node.since = now;
        }
    }

    fn redirect(&mut self, control: Control, now: UnixMs) {
        if let Control::Paused { since, .. } = self.control {
            self.shift_clocks(now.since(since), now);
        } else if matches!(self.control, Control::Held { .. }) {
            self.leave_hold(now);
        }
        self.control = control;
        self.progressed_at = now;
    }

    /// Time that was paused does not count against any deadline.
    fn shift_clocks(&mut self, paused: Span, now: UnixMs) {
        let shift = |at: UnixMs| at.plus(paused).min(now);
        self.progressed_at = shift(self.progressed_at);
        for stage in &mut self.stages {
            stage.since = shift(stage.since);
        }
        for node in self.nodes.values_mut() {
            node.since = shift(node.since);
            node.silent_since = node.silent_since.map(shift);
        }
    }
}

impl NodeProgress {
    /// A node of which nothing has been asked yet.
    pub fn selected(stage: usize, now: UnixMs) -> NodeProgress {
        NodeProgress {
            state: NodeState::Selected,
            since: now,
            stage,
            permission: None,
            started_height: None,
            started_seen_at: None,
            started_pid: None,
            silent_since: None,
            granted_at: None,
            proof: None,
            reason: None,
            fault: None,
        }
    }
}

impl NodeState {
    /// Whether something is going on at the node that has a deadline.
    pub fn under_way(self) -> bool {
        use NodeState as S;
        matches!(
            self,
            S::Staging
                | S::Staged
                | S::Permitted
                | S::Stopping
                | S::Switched
                | S::Starting
                | S::RpcUp
                | S::CatchingUp
                | S::Sealing
                | S::NotSealing
                | S::RollingBack
        )
    }

    /// Whether the node failed on the host or on the chain.
    pub fn failed(self) -> bool {
        use NodeState as S;
        matches!(self, S::StageFailed | S::PreflightFailed | S::SwitchFailed | S::NotSealing)
    }
}

impl Verb {
    /// The verb as people type it.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Approve => "approve",
            Verb::Pause => "pause",
            Verb::Resume => "resume",
            Verb::Promote => "promote",
            Verb::Retry => "retry",
            Verb::Abort => "abort",
            Verb::Rollback => "rollback",
        }
    }
}
