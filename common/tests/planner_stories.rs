//! Stories of rollouts over the toy fleet. After every second the second opinion looks at every plan.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]
mod toy;

use common::fleet::Role;
use common::manifest::Activation;
use common::planner::{Level, deadline, plan, preview};
use common::rollout::{NodeState, Outcome, Phase, Reason, RolloutEvent, Verb};
use common::time::Span;
use toy::{Flaw, POLICY, World, address, fleet, name, record};

fn done(outcome: Outcome) -> impl Fn(&World) -> bool {
    move |w| w.rollout.phase == Phase::Done(outcome.clone())
}

fn order(world: &World) -> Vec<String> {
    let granted = |e: &RolloutEvent| match e {
        RolloutEvent::Granted { node, .. } => Some(node.to_string()),
        _ => None,
    };
    world.events.iter().filter_map(granted).collect()
}

#[test]
fn the_happy_path_upgrades_canary_rpc_and_validators_and_the_chain_never_stops() {
    let mut w = World::new(7);
    w.until(600, done(Outcome::Succeeded));
    assert_eq!(w.halted, 0, "a block was missed");
    assert!(w.agents.values().all(|a| a.on_new && a.stops == 1));
    let order = order(&w);
    assert_eq!(order[0], "rpc-1");
    assert_eq!(order[3], "val-01");
    assert_eq!(order.len(), 10);
    assert!(w.permissions.is_empty());
    assert_eq!(w.rollout.min_slack, Some(1), "7 validators, quorum 5, reserve 1: one at a time");
    let proof = w.rollout.nodes[&name("val-03")].proof.clone().unwrap();
    assert!(proof.seals >= 2 && proof.blocks_equal >= 2, "{proof:?}");
}

#[test]
fn thirteen_validators_go_three_at_a_time() {
    let mut w = World::new(13);
    w.until(600, done(Outcome::Succeeded));
    assert_eq!(w.halted, 0);
    assert_eq!(w.rollout.min_slack, Some(1));
    let most = w.events.iter().fold((0i32, 0i32), |(now, most), e| match e {
        RolloutEvent::Granted { node, .. } if node.as_str().starts_with("val") => {
            (now + 1, most.max(now + 1))
        }
        RolloutEvent::Freed { node, .. } if node.as_str().starts_with("val") => (now - 1, most),
        _ => (now, most),
    });
    assert_eq!(most.1, 3);
}

#[test]
fn two_foreign_validators_down_leave_nothing_to_grant_and_it_is_said() {
    let mut w = World::with(fleet(3, 5), POLICY, Activation::Anytime, 2);
    w.until(300, |w| w.state("rpc-1") == NodeState::Done);
    w.foreign.values_mut().for_each(|up| *up = false);
    w.until(100, |w| {
        let said = w.waits_for("quorum-slack-exhausted") && w.waits_for("foreign-validator-down");
        said && w.state("rpc-3") == NodeState::Done
    });
    let grants = order(&w).len();
    for _ in 0..60 {
        w.tick();
    }
    assert_eq!(order(&w).len(), grants, "nobody was permitted meanwhile");
    assert_eq!(w.halted, 0);
    w.foreign.values_mut().for_each(|up| *up = true);
    w.until(600, done(Outcome::Succeeded));
    assert_eq!(w.halted, 0);
}

#[test]
fn three_validators_are_refused() {
    let mut w = World::new(3);
    w.until(300, |w| w.state("rpc-3") == NodeState::Done);
    w.until(60, |w| w.waits_for("quorum-slack-exhausted"));
    assert!(preview(&w.input()).refusals.iter().any(|r| r.code() == "quorum-slack-exhausted"));
    assert_eq!(w.stops("val-01"), 0);
    w.until(600, |w| matches!(w.held(), Some(Reason::NoProgress { .. })));
}

#[test]
fn a_release_that_crashes_holds_at_the_canary_and_no_validator_is_touched() {
    let mut w = World::new(7);
    w.flaw("rpc-1", Flaw::CrashesOnNew);
    w.until(200, |w| matches!(w.held(), Some(Reason::NodeFailed { .. })));
    w.until(100, |w| w.state("rpc-1") == NodeState::RolledBack);
    assert!(w.permissions.is_empty(), "the slot is free once the old release is proved");
    assert!(!w.agents[&name("rpc-1")].on_new);
    let refused = w.rollout.apply(Verb::Resume, "ada", "", w.now).unwrap_err();
    assert!(refused.why.contains("rpc-1 failed"), "{refused}");
    for i in 1..=7 {
        assert_eq!(w.stops(&format!("val-{i:02}")), 0);
    }
    w.heal("rpc-1", Flaw::CrashesOnNew);
    w.verb(Verb::Retry);
    w.until(600, done(Outcome::Succeeded));
    assert_eq!(w.stops("rpc-1"), 2);
}

#[test]
fn a_validator_that_never_seals_holds_and_is_rolled_back() {
    let mut w = World::new(7);
    w.flaw("val-01", Flaw::NeverSealsOnNew);
    w.until(600, |w| matches!(w.held(), Some(Reason::NodeNotSealing { .. })));
    assert_eq!(w.state("val-01"), NodeState::NotSealing);
    assert_eq!(order(&w).iter().filter(|n| n.starts_with("val")).count(), 1, "only the canary was stopped");
    w.verb(Verb::Rollback);
    w.until(300, done(Outcome::RolledBack));
    assert!(w.agents.values().all(|a| !a.on_new), "{}", w.picture());
    assert_eq!(w.halted, 0);
}

#[test]
fn a_policy_can_roll_back_by_itself() {
    let policy = POLICY.replace("max_parallel = 8", "max_parallel = 8\non_failure = \"rollback\"");
    let mut w = World::with(fleet(3, 7), &policy, Activation::Anytime, 0);
    w.flaw("val-01", Flaw::CrashesOnNew);
    w.until(900, done(Outcome::RolledBack));
    assert!(w.agents.values().all(|a| !a.on_new));
    assert_eq!(w.halted, 0);
}

#[test]
fn a_canary_with_another_state_holds() {
    let mut w = World::new(7);
    w.flaw("rpc-1", Flaw::DivergesOnNew);
    w.until(200, |w| matches!(w.held(), Some(Reason::StateDiverged { .. })));
    assert_eq!(order(&w), ["rpc-1"]);
}

#[test]
fn a_release_that_cannot_be_staged_holds_before_any_switch() {
    let mut w = World::new(7);
    w.flaw("val-05", Flaw::CannotStage);
    w.until(100, |w| matches!(w.held(), Some(Reason::NodeFailed { .. })));
    assert!(order(&w).is_empty());
    assert_eq!(w.state("val-05"), NodeState::StageFailed);
    w.heal("val-05", Flaw::CannotStage);
    w.verb(Verb::Retry);
    w.until(600, done(Outcome::Succeeded));
}

#[test]
fn the_permission_of_a_silent_node_is_never_taken_back() {
    let mut w = World::new(7);
    w.until(300, |w| w.state("val-01") == NodeState::Permitted);
    w.flaw("val-01", Flaw::AgentGone);
    w.until(120, |w| w.waits_for("node-silent"));
    w.until(900, |w| matches!(w.held(), Some(Reason::NoProgress { .. })));
    for _ in 0..900 {
        w.tick();
    }
    assert!(w.permissions.contains_key(&name("val-01")), "its permission is long over and still counts");
    assert_eq!(w.last.as_ref().unwrap().quorum.as_ref().unwrap().slack, 1);
    w.heal("val-01", Flaw::AgentGone);
    w.until(60, |w| w.permissions.is_empty());
    assert_eq!(w.stops("val-01"), 0, "it was told that its leave is over before it stopped");
    w.verb(Verb::Resume);
    w.until(600, done(Outcome::Succeeded));
}

#[test]
fn offline_nodes_are_deferred_and_counted() {
    let mut w = World::new(10);
    w.flaw("rpc-3", Flaw::AgentGone);
    w.flaw("val-07", Flaw::AgentGone);
    w.until(900, done(Outcome::SucceededWithDeferred(2)));
    assert_eq!(w.state("val-07"), NodeState::Deferred);
    assert_eq!(w.halted, 0);
}

#[test]
fn a_pause_begins_nothing_and_its_time_does_not_count() {
    let mut w = World::new(7);
    w.until(300, |w| w.state("val-02") == NodeState::Done);
    w.verb(Verb::Pause);
    let (grants, progressed) = (order(&w).len(), w.rollout.progressed_at);
    for _ in 0..1000 {
        w.tick();
    }
    assert_eq!(order(&w).len(), grants);
    assert!(w.waits_for("paused"));
    w.verb(Verb::Resume);
    assert!(w.rollout.progressed_at > progressed);
    w.until(600, done(Outcome::Succeeded));
    assert!(w.held().is_none());
}

#[test]
fn an_abort_finishes_who_is_half_way_and_touches_nobody_else() {
    let mut w = World::new(7);
    w.until(300, |w| w.state("val-01") == NodeState::Stopping);
    w.verb(Verb::Abort);
    w.until(120, done(Outcome::Aborted));
    assert_eq!(w.state("val-01"), NodeState::Done);
    assert_eq!(w.stops("val-02"), 0);
    assert!(w.permissions.is_empty());
}

#[test]
fn a_person_promotes_a_manual_stage() {
    let policy = POLICY.replacen("soak = { blocks = 5 }", "soak = { blocks = 5 }\npromote = \"manual\"", 1);
    let mut w = World::with(fleet(3, 4), &policy, Activation::Anytime, 0);
    w.until(200, |w| w.waits_for("promotion-missing"));
    for _ in 0..1000 {
        w.tick();
    }
    assert_eq!(order(&w), ["rpc-1"], "a person is waited for without a deadline");
    w.verb(Verb::Promote);
    w.until(60, |w| order(w).len() > 1);
}

#[test]
fn before_a_height_the_rollout_ends_when_every_node_has_passed_it() {
    let mut w = World::with(fleet(3, 7), POLICY, Activation::BeforeHeight { height: 420 }, 0);
    assert_eq!(deadline::verdict(&w.input()).level, Level::AtRisk);
    w.until(500, |w| w.waits_for("waiting-for-activation"));
    assert!(w.head() < 420);
    w.until(600, done(Outcome::Succeeded));
    assert!(w.head() >= 422);
}

#[test]
fn too_late_is_infeasible_and_past_the_height_it_holds() {
    let mut w = World::with(fleet(3, 7), POLICY, Activation::BeforeHeight { height: 160 }, 0);
    let verdict = deadline::verdict(&w.input());
    assert_eq!(verdict.level, Level::Infeasible, "{verdict:?}");
    assert!(verdict.eta.unwrap() < Span::secs(60) && verdict.need.unwrap() > Span::secs(120));
    w.until(200, |w| matches!(w.held(), Some(Reason::ActivationPassed { height: 160 })));
    w.verb(Verb::Rollback);
    w.until(60, |w| matches!(w.held(), Some(Reason::ActivationPassed { .. })));
    assert!(w.agents[&name("rpc-1")].on_new, "nobody goes back past the height");
}

#[test]
fn a_plan_cancelled_on_chain_is_superseded_or_held() {
    let mut w = World::new(7);
    w.tick();
    w.cancelled = true;
    w.until(30, done(Outcome::Superseded));
    let mut w = World::new(7);
    w.until(300, |w| w.state("rpc-1") == NodeState::Done);
    w.cancelled = true;
    w.until(10, |w| matches!(w.held(), Some(Reason::PlanCancelled)));
    w.verb(Verb::Rollback);
    w.until(100, done(Outcome::RolledBack));
}

#[test]
fn without_a_view_nothing_is_permitted_and_after_a_restart_everybody_is_unknown() {
    let mut w = World::new(7);
    w.until(300, |w| w.state("val-02") == NodeState::Done);
    w.view_gone = true;
    w.until(30, |w| w.waits_for("chain-view-missing"));
    w.view_gone = false;
    for view in w.views.values_mut() {
        view.observed = None;
    }
    let fresh = plan(&w.input());
    let report = fresh.quorum.unwrap();
    assert_eq!(report.live, 0, "unknown is down");
    assert!(fresh.actions.is_empty());
    w.until(600, done(Outcome::Succeeded));
    assert_eq!(w.halted, 0);
}

#[test]
fn a_cordoned_node_is_left_alone_and_named() {
    let mut nodes = fleet(3, 4);
    nodes[2].cordoned = true;
    let mut w = World::with(nodes, POLICY, Activation::Anytime, 0);
    w.until(300, |w| w.waits_for("cordoned"));
    assert_eq!(w.stops("rpc-3"), 0);
}

#[test]
fn a_node_that_runs_the_release_already_is_only_proved() {
    let mut w = World::new(7);
    w.agents.get_mut(&name("val-04")).unwrap().on_new = true;
    w.until(600, done(Outcome::Succeeded));
    assert_eq!(w.stops("val-04"), 0);
}

#[test]
fn a_thousand_nodes_fit_into_commits_of_the_store() {
    let mut nodes = fleet(3, 7);
    nodes.extend((0..400).map(|i| record(&format!("edge-{i:03}"), Role::Sentry, None)));
    nodes.push(record("val-99", Role::Validator, Some(address(99))));
    let policy = format!("{POLICY}[[stage]]\nname = \"edge\"\nselect = 'role == \"sentry\"'\n");
    let mut w =
        World::with(nodes, &policy.replace("max_parallel = 8", "max_parallel = 100"), Activation::Anytime, 0);
    w.until(600, done(Outcome::Succeeded));
    assert_eq!(w.halted, 0);
}
