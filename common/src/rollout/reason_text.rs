//! The words of every reason: a code for machines, a sentence for people.
use super::Reason;
use crate::wire::v1::FaultCode;

macro_rules! codes {
    ($($variant:ident => $code:literal,)*) => {
        impl Reason {
            /// Its code, the same as in JSON and in `docs/operations.md`.
            pub fn code(&self) -> &'static str {
                match self { $(Reason::$variant { .. } => $code,)* }
            }

            /// Every code there is, for the check that each is documented.
            pub fn all_codes() -> &'static [&'static str] {
                &[$($code,)*]
            }
        }
    };
}

codes! {
    ApprovalMissing => "approval-missing",
    Paused => "paused",
    NodeStaging => "node-staging",
    StageNotReached => "stage-not-reached",
    ParallelLimit => "parallel-limit",
    QuorumSlackExhausted => "quorum-slack-exhausted",
    ForeignValidatorDown => "foreign-validator-down",
    ChainViewMissing => "chain-view-missing",
    ChainViewStale => "chain-view-stale",
    ChainNotAdvancing => "chain-not-advancing",
    ChainSlow => "chain-slow",
    EpochBoundary => "epoch-boundary",
    AdjacentProposer => "adjacent-proposer",
    NodeSilent => "node-silent",
    Cordoned => "cordoned",
    Switching => "switching",
    CatchingUp => "catching-up",
    SealMissing => "seal-missing",
    ProofPending => "proof-pending",
    Soaking => "soaking",
    GateNotPassed => "gate-not-passed",
    PromotionMissing => "promotion-missing",
    NodeFailed => "node-failed",
    NodeNotSealing => "node-not-sealing",
    StateDiverged => "state-diverged",
    DeadlinePassed => "deadline-passed",
    NoProgress => "no-progress",
    DeadlineAtRisk => "deadline-at-risk",
    DeadlineInfeasible => "deadline-infeasible",
    ActivationPassed => "activation-passed",
    PlanCancelled => "plan-cancelled",
    WaitingForActivation => "waiting-for-activation",
    CheckFailed => "check-failed",
    OtherRollout => "other-rollout",
}

macro_rules! fault_codes {
    ($($variant:ident => $code:literal,)*) => {
        impl FaultCode {
            /// Its code, the same as in JSON and in `docs/operations.md`.
            pub fn code(self) -> &'static str {
                match self { $(FaultCode::$variant => $code,)* }
            }

            /// Every code there is, for the check that each is documented.
            pub fn all_codes() -> &'static [&'static str] {
                &[$($code,)*]
            }
        }
    };
}

fault_codes! {
    ManifestUnavailable => "manifest-unavailable",
    ManifestMismatch => "manifest-mismatch",
    SignatureThreshold => "signature-threshold",
    SequenceTooOld => "sequence-too-old",
    ManifestExpired => "manifest-expired",
    WrongChain => "wrong-chain",
    NoArtifact => "no-artifact",
    ArtifactUnavailable => "artifact-unavailable",
    DigestMismatch => "digest-mismatch",
    DiskFull => "disk-full",
    BinaryUnusable => "binary-unusable",
    ForkUnknown => "fork-unknown",
    PermissionExpired => "permission-expired",
    StopFailed => "stop-failed",
    BackupFailed => "backup-failed",
    HookFailed => "hook-failed",
    SwitchFailed => "switch-failed",
    CrashLoop => "crash-loop",
    NotHealthy => "not-healthy",
    GenerationOld => "generation-old",
    GenerationConflict => "generation-conflict",
    RollbackRefused => "rollback-refused",
}

impl Reason {
    /// One sentence for people. Details that came from a host are data: the caller escapes them for its medium.
    pub fn message(&self) -> String {
        self.rollout_message().or_else(|| self.chain_message()).unwrap_or_else(|| self.node_message())
    }

    fn rollout_message(&self) -> Option<String> {
        Some(match self {
            Reason::ApprovalMissing => "nobody has approved the draft".to_owned(),
            Reason::Paused => "a person paused the rollout".to_owned(),
            Reason::NodeStaging { nodes } => format!("{nodes} node(s) download, verify or are being checked"),
            Reason::StageNotReached { stage } => format!("stage {stage} must be done first"),
            Reason::ParallelLimit { busy, limit } => {
                format!("{busy} node(s) are being worked on, {limit} are allowed at once")
            }
            Reason::Soaking { stage, blocks, need } => {
                format!("stage {stage} soaks: {blocks} of {need} blocks")
            }
            Reason::GateNotPassed { stage, gate } => {
                format!("the gate of stage {stage} is not passed: {gate}")
            }
            Reason::PromotionMissing { stage } => format!("stage {stage} waits for a person to promote it"),
            Reason::NoProgress { since } => {
                format!("nothing got further since {} (ms since 1970)", since.0)
            }
            Reason::DeadlineAtRisk { eta, need } => {
                format!("the activation height comes in about {eta}, the rest needs about {need}")
            }
            Reason::DeadlineInfeasible { eta, need } => {
                format!("the activation height comes in about {eta}, too soon: the rest needs about {need}")
            }
            Reason::ActivationPassed { height } => {
                format!("the activation height {height} has passed: no rollback and no late switch")
            }
            Reason::PlanCancelled => "the plan was cancelled on chain".to_owned(),
            Reason::WaitingForActivation { height, head } => {
                format!("all nodes are done; waiting for the activation height {height}, the head is {head}")
            }
            Reason::CheckFailed { finding } => {
                format!("the second opinion refused the plan, nothing was done: {finding}")
            }
            Reason::OtherRollout { rollout } => format!("rollout {rollout} of the same network is not done"),
            _ => return None,
        })
    }

    fn chain_message(&self) -> Option<String> {
        Some(match self {
            Reason::QuorumSlackExhausted { need, have } => format!(
                "stopping one more validator needs {need} vote(s) above quorum, reserve included; {have} are left"
            ),
            Reason::ForeignValidatorDown { validators } => {
                format!("validators we did not stop do not seal: {}", validators.join(", "))
            }
            Reason::ChainViewMissing => {
                "there is no usable view of the chain: too few endpoints agree, or too few sealed blocks are known"
                    .to_owned()
            }
            Reason::ChainViewStale { age } => format!("the view of the chain is {age} old"),
            Reason::ChainNotAdvancing { height, age } => {
                format!("the chain stands at height {height} for {age}")
            }
            Reason::ChainSlow { interval_ms, limit_ms } => {
                format!("blocks take {interval_ms} ms, the policy allows {limit_ms} ms")
            }
            Reason::EpochBoundary { blocks } => format!("the epoch ends in {blocks} block(s)"),
            Reason::AdjacentProposer { neighbour } => {
                format!("its neighbour in proposer order, {neighbour}, is down")
            }
            _ => return None,
        })
    }

    fn node_message(&self) -> String {
        match self {
            Reason::NodeSilent { node, since: Some(since) } => {
                format!("{node} has not reported since {} (ms since 1970)", since.0)
            }
            Reason::NodeSilent { node, since: None } => format!("{node} has not reported yet"),
            Reason::Cordoned { node } => format!("{node} is cordoned"),
            Reason::Switching { node } => format!("{node} holds a permission and works"),
            Reason::CatchingUp { node, behind } => format!("{node} is {behind} block(s) behind the network"),
            Reason::SealMissing { node, seen, need } => {
                format!("{node}: its seal was seen in {seen} of {need} blocks needed")
            }
            Reason::ProofPending { node, seen, need } => {
                format!("{node}: {seen} of {need} blocks needed are compared and equal to the network's")
            }
            Reason::NodeFailed { node, fault, detail } => {
                format!("{node} failed ({}): {detail}", fault.code())
            }
            Reason::NodeNotSealing { node } => {
                format!("{node} runs and follows, but its seal is missing past the deadline")
            }
            Reason::StateDiverged { node, height } => {
                format!("{node} has another block at height {height} than the network")
            }
            Reason::DeadlinePassed { node, step } => format!("{node}: {step} took longer than its deadline"),
            other => other.code().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_json() {
        let reason = Reason::ChainNotAdvancing { height: 3, age: crate::time::Span::secs(9) };
        let json = serde_json::to_value(&reason).expect("json");
        assert_eq!(json["code"], reason.code());
        assert_eq!(reason.message(), "the chain stands at height 3 for 9s");
        for code in FaultCode::all_codes() {
            let fault: FaultCode = serde_json::from_value(serde_json::json!(code)).expect(code);
            assert_eq!(fault.code(), *code);
        }
        let mut sorted = Reason::all_codes().to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), Reason::all_codes().len());
    }
}
