//! Plans of the host and at-height mode, as short stories.
use super::*;
use crate::id::ReleaseName;
use crate::release::{Digest, InstalledRelease, ReleaseRef};
use crate::wire::v1::{Goal, Instruction, Limits};

const T0: UnixMs = UnixMs(1_000_000);

fn release(n: u8) -> InstalledRelease {
    let name = ReleaseName::new(format!("r{n}")).unwrap();
    InstalledRelease { name, sequence: 0, digest: Digest([n; 32]) }
}

fn plan(n: u8, height: Option<u64>, present: bool) -> HostPlan {
    let release = ReleaseRef { name: release(n).name, sequence: 0, manifest: Digest([100 + n; 32]) };
    HostPlan { release, height, halted_after: Span::secs(30), limits: Limits::default(), present }
}

fn planned(plan: HostPlan) -> Event {
    Event::Planned(Some(Box::new(plan)))
}

fn staged(n: u8, height: Option<u64>, at_height: bool) -> Event {
    Event::Staged(Ok(StagedRelease {
        installed: release(n),
        artifact: None,
        activation_height: height,
        irreversible: false,
        at_height,
    }))
}

fn found(running: bool) -> Found {
    let process = running.then_some((7, T0));
    Found { current: Some(release(0)), process, running: process.map(|_| release(0).digest), stopping: false }
}

fn boot(running: bool, change: impl FnOnce(&mut Ledger)) -> (Machine, Vec<Effect>) {
    let mut ledger = Ledger::genesis(release(0).name, release(0).digest, T0);
    change(&mut ledger);
    Machine::booted(ledger, found(running), T0)
}

fn head(machine: &mut Machine, at: UnixMs, head: u64) -> Vec<Effect> {
    machine.step(at, Event::Probed(Probe { rpc_up: true, head: Some(head), head_advanced: true }))
}

fn stops(effects: &[Effect]) -> bool {
    effects.iter().any(|e| matches!(e, Effect::Stop { .. }))
}

fn starts(effects: &[Effect]) -> bool {
    effects.iter().any(|e| matches!(e, Effect::Start { .. }))
}

/// A running node with release 1 staged and checked, due at 500.
fn ready() -> Machine {
    let (mut machine, _) = boot(true, |_| {});
    head(&mut machine, T0, 100);
    machine.step(T0, planned(plan(1, Some(500), true)));
    machine.step(T0, staged(1, Some(500), false));
    assert!(!stops(&machine.step(T0, Event::Preflighted(Ok(())))));
    assert_eq!(machine.phase(), AgentPhase::Ready);
    machine
}

#[test]
fn a_plan_waits_for_its_height_and_says_so() {
    let mut machine = ready();
    assert_eq!(machine.height_wait(), Some(HeightWait::HeightAhead { height: 500, head: 100 }));
    assert!(!stops(&head(&mut machine, T0, 499)));
    assert!(stops(&head(&mut machine, T0, 500)));
    assert_eq!((machine.phase(), machine.ledger().spent_permission), (AgentPhase::Stopping, 0));
}

#[test]
fn an_unknown_head_is_not_zero_and_not_reached() {
    let (mut machine, _) = boot(true, |_| {});
    machine.step(T0, planned(plan(1, Some(5), true)));
    machine.step(T0, staged(1, Some(5), false));
    machine.step(T0, Event::Preflighted(Ok(())));
    assert_eq!(machine.height_wait(), Some(HeightWait::HeadUnknown { height: 5 }));
    assert!(!stops(&machine.step(T0.plus(Span::mins(60)), Event::Tick)));
    let silent = Probe { rpc_up: false, head: None, head_advanced: false };
    assert!(!stops(&machine.step(T0.plus(Span::mins(61)), Event::Probed(silent))));
}

#[test]
fn a_chain_that_halts_below_the_height_is_recognised() {
    let mut machine = ready();
    head(&mut machine, T0, 499);
    assert!(!stops(&head(&mut machine, T0.plus(Span::secs(29)), 499)), "it may only be slow");
    machine.step(T0.plus(Span::secs(30)), Event::Tick);
    assert_eq!(machine.phase(), AgentPhase::Stopping);
}

#[test]
fn a_node_that_ends_at_the_height_is_switched_at_once() {
    for (last, due) in [(499, true), (400, false)] {
        let mut machine = ready();
        head(&mut machine, T0, last);
        let effects = machine.step(T0, Event::Exited { exit: "exit code 0".into() });
        assert_eq!(stops(&effects), due, "head {last}");
        assert_eq!(starts(&effects), !due, "head {last}");
    }
}

#[test]
fn a_fast_chain_is_past_the_last_look_when_its_node_ends() {
    let mut machine = ready();
    head(&mut machine, T0, 470);
    assert!(!stops(&machine.step(T0, Event::Exited { exit: "signal 6".into() })), "any crash looks so");
    machine.step(T0.plus(Span::secs(1)), Event::Started(Ok(8)));
    // It refuses to run on: a second end, and RPC never answered.
    assert!(stops(&machine.step(T0.plus(Span::secs(2)), Event::Exited { exit: "exit code 1".into() })));
}

#[test]
fn a_plan_that_is_due_comes_before_the_first_launch() {
    let due = |l: &mut Ledger| {
        l.plan = Some(plan(1, Some(500), true));
        l.head = Some(499);
    };
    let (mut machine, effects) = boot(false, due);
    assert!(!starts(&effects) && effects.iter().any(|e| matches!(e, Effect::Stage { .. })), "{effects:?}");
    machine.step(T0, staged(1, Some(500), false));
    assert!(stops(&machine.step(T0, Event::Preflighted(Ok(())))));
    // Not due, not there, or refused before: the old release is launched.
    for change in [0, 1, 2] {
        let (_, effects) = boot(false, |l| {
            due(l);
            match change {
                0 => l.head = Some(100),
                1 => l.plan = Some(plan(1, Some(500), false)),
                _ => l.refused = vec![Digest([101; 32])],
            }
        });
        assert!(starts(&effects), "{change}");
    }
}

#[test]
fn a_plan_that_changed_while_no_agent_ran_is_not_waited_for() {
    let mut staging = boot(true, |_| {}).0;
    staging.step(T0, planned(plan(1, Some(500), true)));
    for before in [ready(), staging] {
        let phase = before.phase();
        let stored = |plan: Option<HostPlan>| Ledger { plan, ..before.ledger().clone() };
        let (machine, effects) = Machine::booted(stored(None), found(true), T0);
        assert_eq!((machine.phase(), machine.ledger().target.clone()), (AgentPhase::Idle, None), "{phase:?}");
        assert!(!stops(&effects) && !starts(&effects), "{phase:?}: {effects:?}");
        // Another one is begun anew; the same one is gone on with.
        for (other, begun) in [(plan(2, Some(900), true), true), (plan(1, Some(500), true), false)] {
            let (machine, effects) = Machine::booted(stored(Some(other.clone())), found(true), T0);
            assert_eq!(machine.ledger().target, Some(other.release), "{phase:?}");
            let stages = effects.iter().any(|e| matches!(e, Effect::Stage { .. }));
            assert_eq!(stages, begun || phase != AgentPhase::Ready, "{phase:?}: {effects:?}");
        }
    }
}

#[test]
fn a_launch_that_was_held_for_a_bad_release_happens_all_the_same() {
    let (mut machine, _) = boot(false, |l| {
        l.plan = Some(plan(1, None, true));
    });
    let fault = Fault { code: FaultCode::BinaryUnusable, detail: "no".into(), at: T0 };
    let effects = machine.step(T0, Event::Staged(Err(fault)));
    assert!(starts(&effects), "{effects:?}");
    assert_eq!(machine.phase(), AgentPhase::Failed);
}

#[test]
fn an_upgrade_to_what_runs_already_ends() {
    let (mut machine, _) = boot(true, |_| {});
    machine.step(T0, planned(plan(0, None, true)));
    machine.step(T0, staged(0, None, false));
    assert!(stops(&machine.step(T0, Event::Preflighted(Ok(())))));
    machine.step(T0, Event::Stopped(Ok(Span(5))));
    machine.step(T0, Event::Prepared(Ok(())));
    machine.step(T0, Event::Switched(Ok(())));
    machine.step(T0, Event::Started(Ok(9)));
    let effects = head(&mut machine, T0, 501);
    assert!(!effects.iter().any(|e| matches!(e, Effect::Stage { .. })), "begun again: {effects:?}");
    assert_eq!((machine.phase(), machine.ledger().previous.as_ref()), (AgentPhase::Done, None));
}

#[test]
fn a_hook_that_says_no_brings_the_old_release_back_up_and_is_not_forgotten() {
    let mut machine = ready();
    head(&mut machine, T0, 500);
    let effects = machine.step(T0, Event::Stopped(Ok(Span(5))));
    assert!(effects.iter().any(|e| matches!(e, Effect::Prepare { .. })), "{effects:?}");
    // The agent dies meanwhile: hooks and backup are done once more, nothing is switched before.
    let (mut machine, effects) = Machine::booted(machine.ledger().clone(), found(false), T0);
    assert!(matches!(effects[..], [Effect::Prepare { .. }]), "{effects:?}");
    let fault = Fault { code: FaultCode::SwitchFailed, detail: "exit code 30".into(), at: T0 };
    let effects = machine.step(T0, Event::Prepared(Err(fault)));
    assert!(effects.iter().any(|e| matches!(e, Effect::Switch { release: r } if *r == release(0))));
    machine.step(T0, Event::Switched(Ok(())));
    machine.step(T0, Event::Started(Ok(9)));
    head(&mut machine, T0, 501);
    assert_eq!(machine.phase(), AgentPhase::Failed);
    assert_eq!(machine.fault().map(|f| f.detail.as_str()), Some("exit code 30"));
    // Neither the next look at the plan nor a restart tries again; the operator does.
    assert!(machine.step(T0, planned(plan(1, Some(500), true))).is_empty());
    let (mut machine, effects) = Machine::booted(machine.ledger().clone(), found(false), T0);
    assert!(starts(&effects));
    machine.step(T0, Event::Started(Ok(10)));
    let effects = machine.step(T0, Event::Forgiven);
    assert!(effects.iter().any(|e| matches!(e, Effect::Stage { .. })), "{effects:?}");
}

#[test]
fn past_the_height_there_is_no_way_back() {
    for (new_head, back) in [(499, true), (500, false)] {
        let mut machine = ready();
        head(&mut machine, T0, 499);
        machine.step(T0, Event::Exited { exit: "exit code 0".into() });
        machine.step(T0, Event::Stopped(Ok(Span::ZERO)));
        machine.step(T0, Event::Prepared(Ok(())));
        machine.step(T0, Event::Switched(Ok(())));
        machine.step(T0, Event::Started(Ok(8)));
        let probe = Probe { rpc_up: true, head: Some(new_head), head_advanced: false };
        machine.step(T0, Event::Probed(probe));
        let effects = machine.step(T0.plus(Span::mins(4)), Event::Tick);
        assert_eq!(stops(&effects), back, "head {new_head}");
    }
}

#[test]
fn the_coordinators_word_comes_before_a_plan_of_the_host() {
    let mut machine = ready();
    let wanted = ReleaseRef { name: release(2).name, sequence: 2, manifest: Digest([2; 32]) };
    let instruction = Instruction {
        generation: 1,
        rollout: None,
        release: Some(wanted.clone()),
        goal: Goal::Stage,
        limits: Limits::default(),
    };
    machine.step(T0, Event::Instructed { instruction: Box::new(instruction), clock_ahead_ms: 0 });
    assert_eq!(machine.ledger().target, Some(wanted));
    assert!(!stops(&head(&mut machine, T0, 600)), "the plan's height does not count now");
    let run = Instruction { generation: 2, ..Instruction::none() };
    let effects = machine.step(T0, Event::Instructed { instruction: Box::new(run), clock_ahead_ms: 0 });
    assert!(
        effects.iter().any(|e| matches!(e, Effect::Stage { release: r, .. } if r.name == release(1).name))
    );
}

#[test]
fn at_height_needs_the_maintainers_word_and_no_coordinator() {
    for (signed, switches) in [(true, true), (false, false)] {
        let (mut machine, _) = boot(true, |_| {});
        head(&mut machine, T0, 100);
        let wanted = ReleaseRef { name: release(1).name, sequence: 0, manifest: Digest([101; 32]) };
        let instruction = Instruction {
            generation: 1,
            rollout: None,
            release: Some(wanted),
            goal: Goal::AtHeight,
            limits: Limits::default(),
        };
        machine.step(T0, Event::Instructed { instruction: Box::new(instruction), clock_ahead_ms: 0 });
        machine.step(T0, staged(1, Some(500), signed));
        assert!(!stops(&machine.step(T0, Event::Preflighted(Ok(())))));
        let code = machine.fault().map(|f| f.code);
        assert_eq!(code, (!signed).then_some(FaultCode::NotAuthorised));
        // The agent dies and comes back, the coordinator does not.
        let (mut machine, _) = Machine::booted(machine.ledger().clone(), found(true), T0);
        assert_eq!(stops(&head(&mut machine, T0, 500)), switches, "signed {signed}");
    }
}

#[test]
fn the_head_is_written_down_near_the_height() {
    let mut machine = ready();
    let persists = |effects: &[Effect]| effects.iter().any(|e| matches!(e, Effect::Persist(_)));
    assert!(!persists(&head(&mut machine, T0, 150)));
    assert!(persists(&head(&mut machine, T0, 450)));
    assert!(persists(&head(&mut machine, T0, 451)));
}

#[test]
fn a_release_that_comes_up_late_past_its_height_is_well_after_all() {
    let mut machine = ready();
    head(&mut machine, T0, 500);
    machine.step(T0, Event::Stopped(Ok(Span(5))));
    machine.step(T0, Event::Prepared(Ok(())));
    machine.step(T0, Event::Switched(Ok(())));
    machine.step(T0, Event::Started(Ok(8)));
    machine.step(T0.plus(Span::mins(4)), Event::Tick);
    assert_eq!((machine.phase(), machine.stuck_on_plan()), (AgentPhase::Failed, true));
    assert!(machine.fault().is_some());
    head(&mut machine, T0.plus(Span::mins(5)), 501);
    assert_eq!((machine.phase(), machine.fault()), (AgentPhase::Done, None));
}
