//! Random faults, verbs and silences over the toy fleet: the second opinion agrees with every plan, the same input gives
//! the same plan, a plan carried out leaves nothing to do, and once faults stop every rollout ends or holds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]
mod toy;

use common::manifest::Activation;
use common::planner::{Action, check, plan};
use common::quorum::{VoteSet, grantable, quorum};
use common::rollout::{Control, Verb};
use proptest::prelude::*;
use std::collections::BTreeSet;
use toy::{Flaw, POLICY, World, address, fleet};

const FLAWS: [Flaw; 6] = [
    Flaw::CrashesOnNew,
    Flaw::NeverSealsOnNew,
    Flaw::DivergesOnNew,
    Flaw::CannotStage,
    Flaw::AgentGone,
    Flaw::ProcessGone,
];
const VERBS: [Verb; 6] = [Verb::Pause, Verb::Resume, Verb::Promote, Verb::Retry, Verb::Abort, Verb::Rollback];

#[derive(Debug, Clone)]
enum Act {
    Pass(u8),
    Break(usize, usize),
    Heal(usize, usize),
    Do(usize),
    Foreign(bool),
    ViewGone(bool),
    Restart,
    Cordon(usize, bool),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        8 => (1u8..40).prop_map(Act::Pass),
        3 => (0usize..12, 0usize..6).prop_map(|(n, f)| Act::Break(n, f)),
        3 => (0usize..12, 0usize..6).prop_map(|(n, f)| Act::Heal(n, f)),
        2 => (0usize..6).prop_map(Act::Do),
        1 => any::<bool>().prop_map(Act::Foreign),
        1 => any::<bool>().prop_map(Act::ViewGone),
        1 => Just(Act::Restart),
        1 => (0usize..12, any::<bool>()).prop_map(|(n, on)| Act::Cordon(n, on)),
    ];
    prop::collection::vec(act, 1..25)
}

fn world(validators: u8, foreign: u8, rollback: bool, block: bool, height: u64) -> World {
    let mut policy = POLICY.to_owned();
    if rollback {
        policy = policy.replace("max_parallel = 8", "max_parallel = 8\non_failure = \"rollback\"");
    }
    if block {
        policy = policy.replace("max_parallel = 8", "max_parallel = 8\noffline = \"block\"");
    }
    let activation = if height == 0 { Activation::Anytime } else { Activation::BeforeHeight { height } };
    World::with(fleet(3, validators), &policy, activation, foreign)
}

fn carry_out(w: &mut World, act: &Act) {
    let nodes: Vec<String> = w.agents.keys().map(ToString::to_string).collect();
    match act {
        Act::Pass(seconds) => (0..*seconds).for_each(|_| w.tick()),
        Act::Break(node, flaw) => w.flaw(&nodes[node % nodes.len()], FLAWS[*flaw]),
        Act::Heal(node, flaw) => w.heal(&nodes[node % nodes.len()], FLAWS[*flaw]),
        Act::Do(verb) => {
            if let Ok((next, events)) = w.rollout.apply(VERBS[*verb], "eve", "why not", w.now) {
                w.rollout = next;
                w.events.extend(events);
            }
        }
        Act::Foreign(up) => w.foreign.values_mut().for_each(|f| *f = *up),
        Act::ViewGone(gone) => w.view_gone = *gone,
        Act::Restart => w.views.values_mut().for_each(|v| v.observed = None),
        Act::Cordon(node, on) => {
            let name = toy::name(&nodes[node % nodes.len()]);
            w.views.get_mut(&name).unwrap().record.cordoned = *on;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sound_whatever_happens(
        (validators, foreign) in (1u8..11, 0u8..3),
        (rollback, block) in any::<(bool, bool)>(),
        height in prop_oneof![Just(0u64), 150u64..400],
        acts in acts(),
    ) {
        let validators = validators.max(2);
        let mut w = world(validators, foreign, rollback, block, height);
        for act in &acts {
            carry_out(&mut w, act);
            let input = w.input();
            let once = plan(&input);
            prop_assert_eq!(&once, &plan(&input), "the same input gives the same plan");
            prop_assert_eq!(check(&input, &once), vec![]);
        }
        // Faults stop: within the deadlines everything ends, or is held or paused, for a reason that is named.
        for agent in w.agents.values_mut() {
            agent.flaws.clear();
        }
        w.foreign.values_mut().for_each(|f| *f = true);
        w.view_gone = false;
        w.views.values_mut().for_each(|v| v.record.cordoned = false);
        let at_rest = |w: &World| {
            w.over() || matches!(w.rollout.control, Control::Held { .. } | Control::Paused { .. })
        };
        for _ in 0..2500 {
            if at_rest(&w) {
                break;
            }
            w.tick();
        }
        prop_assert!(at_rest(&w), "neither over nor held: {}", w.picture());
        w.tick();
        prop_assert!(w.over() || !w.last.as_ref().unwrap().rollout.waiting.is_empty());
    }

    #[test]
    fn without_faults_the_chain_never_stops(validators in 4u8..14, foreign in 0u8..4) {
        let mut w = world(validators, foreign, false, false, 0);
        for _ in 0..900 {
            if w.over() {
                break;
            }
            w.tick();
        }
        prop_assert_eq!(w.halted, 0);
        prop_assert!(w.over() || (validators + foreign) < 7, "{}", w.picture());
    }

    #[test]
    fn a_forged_plan_is_found_out(seconds in 5u32..150, pick in 0usize..10) {
        let mut w = world(7, 0, false, false, 0);
        for _ in 0..seconds {
            w.tick();
        }
        let input = w.input();
        let honest = plan(&input);
        // Somebody else is told to switch without a permission.
        let victim = input.nodes.keys().nth(pick).unwrap().clone();
        let permission = common::wire::v1::Permission {
            id: input.next_permission, granted_at: input.now, expires_at: input.now.plus(common::time::Span::mins(1)),
        };
        let mut forged = honest.clone();
        forged.actions.push(Action::Instruct {
            node: victim.clone(),
            release: Some(input.rollout.release.clone()),
            goal: common::wire::v1::Goal::Switch { permission: permission.clone() },
            limits: common::wire::v1::Limits::default(),
        });
        prop_assert!(check(&input, &forged).iter().any(|v| v.rule == "I5"));
        // Two validators at once where slack is for one.
        let mut forged = honest.clone();
        forged.actions.clear();
        for i in 1..=2u64 {
            let node = toy::name(&format!("val-0{i}"));
            let permission = common::wire::v1::Permission { id: input.next_permission + i, ..permission.clone() };
            forged.actions.push(Action::Grant { node, permission });
        }
        prop_assert!(check(&input, &forged).iter().any(|v| v.rule == "I1"));
        // A slot is freed on nobody's evidence.
        if let Some((node, held)) = input.permissions.iter().next() {
            let mut forged = honest;
            forged.actions.retain(|a| !matches!(a, Action::Free { .. }));
            forged.rollout.nodes.get_mut(node).unwrap().proof = None;
            forged.actions.push(Action::Free { node: node.clone(), permission: held.permission.id });
            prop_assert!(check(&input, &forged).iter().any(|v| v.rule == "I2"));
        }
    }

    #[test]
    fn quorum_is_the_smallest_number_that_meets_both_definitions(n in 1u64..400) {
        // Any two quorums share an honest validator, and the rule of old go-wbft holds too.
        let tolerated = (0..n).filter(|f| 3 * f < n).max().unwrap();
        let brute = (0..=n).find(|q| *q >= n - tolerated && 3 * q >= 2 * n).unwrap();
        prop_assert_eq!(quorum(n), brute);
        prop_assert!(2 * quorum(n) - n > tolerated);
    }

    #[test]
    fn a_grant_keeps_quorum_and_reserve_in_every_set(
        sets in prop::collection::vec(prop::collection::btree_set(0u8..20, 1..16), 1..3),
        down in prop::collection::btree_set(0u8..20, 0..6),
        (nameless, candidate, reserve) in (0u64..2, 0u8..20, 0u64..3),
    ) {
        let votes: Vec<_> = sets.iter().map(|s| VoteSet::new(s.iter().map(|a| address(*a)))).collect();
        let before: BTreeSet<_> = down.iter().map(|a| address(*a)).collect();
        let verdict = grantable(&votes, &before, nameless, &address(candidate), reserve);
        let mut after = down.clone();
        after.insert(candidate);
        let sound = sets.iter().all(|s| {
            let live = (s.difference(&after).count() as u64).saturating_sub(nameless);
            live >= quorum(s.len() as u64) + reserve
        });
        prop_assert_eq!(verdict.is_ok(), sound);
    }
}
