use super::*;
use crate::id::ReleaseName;
use crate::release::{Artifact, Digest, InstalledRelease, ReleaseRef};
use crate::wire::v1::{Direction, Goal, Instruction, Limits, Permission};

const T0: UnixMs = UnixMs(1_000_000);

fn release(n: u8) -> InstalledRelease {
    let name = ReleaseName::new(format!("r{n}")).unwrap();
    InstalledRelease { name, sequence: n.into(), digest: Digest([n; 32]) }
}

fn target() -> ReleaseRef {
    ReleaseRef { name: release(1).name, sequence: 1, manifest: Digest([101; 32]) }
}

fn order(generation: u64, goal: Goal) -> Event {
    let limits = Limits::default();
    let instruction = Instruction { generation, rollout: None, release: Some(target()), goal, limits };
    Event::Instructed { instruction: Box::new(instruction), clock_ahead_ms: 0 }
}

fn switch(id: u64, lives_ms: u64) -> Goal {
    Goal::Switch { permission: Permission { id, granted_at: T0, expires_at: UnixMs(T0.0 + lives_ms) } }
}

fn running() -> Machine {
    let ledger = Ledger::genesis(release(0).name, release(0).digest, T0);
    let found = Found { current: Some(release(0)), process: Some((7, T0)), ..Found::default() };
    Machine::booted(ledger, found, T0).0
}

fn stage(machine: &mut Machine, activation_height: Option<u64>, irreversible: bool) {
    let artifact = Artifact {
        os: "linux".into(),
        arch: "x86_64".into(),
        variant: None,
        url: String::new(),
        sha256: Digest([1; 32]),
        size: 1,
        member: None,
        executable_sha256: None,
    };
    let staged = StagedRelease {
        installed: release(1),
        artifact: Some(artifact),
        activation_height,
        irreversible,
        at_height: false,
    };
    machine.step(T0, Event::Staged(Ok(staged)));
    machine.step(T0, Event::Preflighted(Ok(())));
}

fn stops(effects: &[Effect]) -> bool {
    effects.iter().any(|e| matches!(e, Effect::Stop { .. }))
}

/// Up to a started new release.
fn switched(activation_height: Option<u64>, irreversible: bool) -> Machine {
    let mut machine = running();
    machine.step(T0, order(1, switch(1, 60_000)));
    stage(&mut machine, activation_height, irreversible);
    assert_eq!(machine.phase(), AgentPhase::Stopping);
    machine.step(T0, Event::Stopped(Ok(Span(10))));
    machine.step(T0, Event::Prepared(Ok(())));
    machine.step(T0, Event::Switched(Ok(())));
    machine.step(T0, Event::Started(Ok(8)));
    assert_eq!(machine.phase(), AgentPhase::Probing);
    machine
}

#[test]
fn happy_path_ends_done_on_the_new_release() {
    let mut machine = switched(None, false);
    let probe = Probe { rpc_up: true, head: Some(5), head_advanced: true };
    machine.step(T0.plus(Span(900)), Event::Probed(probe));
    assert_eq!(machine.phase(), AgentPhase::Done);
    assert_eq!(machine.ledger().current, release(1));
    assert_eq!(machine.ledger().previous, Some(release(0)));
    assert_eq!(machine.ledger().last_start, Some(Span(900)));
    assert_eq!(machine.fault(), None);
}

#[test]
fn an_expired_permission_never_stops_the_node() {
    let mut machine = running();
    machine.step(T0, order(1, Goal::Stage));
    stage(&mut machine, None, false);
    assert_eq!(machine.phase(), AgentPhase::Ready);
    // Two seconds of skew are kept before the end.
    assert!(!stops(&machine.step(T0.plus(Span(8_000)), order(2, switch(1, 10_000)))));
    assert_eq!(machine.phase(), AgentPhase::Ready);
    assert_eq!(machine.fault().map(|f| f.code), Some(FaultCode::PermissionExpired));
    assert!(stops(&machine.step(T0.plus(Span(8_000)), order(3, switch(2, 20_000)))));
}

#[test]
fn the_coordinators_clock_counts() {
    let mut machine = running();
    machine.step(T0, order(1, Goal::Stage));
    stage(&mut machine, None, false);
    let Event::Instructed { instruction, .. } = order(2, switch(1, 10_000)) else { unreachable!() };
    let ahead = Event::Instructed { instruction, clock_ahead_ms: 9_000 };
    assert!(!stops(&machine.step(T0, ahead)));
}

#[test]
fn revocation_while_ready_and_while_stopping() {
    let mut machine = running();
    machine.step(T0, order(1, Goal::Stage));
    stage(&mut machine, None, false);
    machine.step(T0, order(2, Goal::Stage));
    assert_eq!(machine.phase(), AgentPhase::Ready);
    machine.step(T0, order(3, switch(1, 60_000)));
    assert_eq!(machine.phase(), AgentPhase::Stopping);
    machine.step(T0, order(4, Goal::Stage));
    assert_eq!(machine.phase(), AgentPhase::Stopping, "a stop is walked to its end");
}

#[test]
fn generations_are_ordered_and_immutable() {
    let mut machine = running();
    machine.step(T0, order(5, Goal::Stage));
    assert!(machine.step(T0, order(5, Goal::Stage)).is_empty());
    assert_eq!(machine.fault(), None);
    machine.step(T0, order(5, Goal::Run));
    assert_eq!(machine.fault().map(|f| f.code), Some(FaultCode::GenerationConflict));
    machine.step(T0, order(4, Goal::Run));
    assert_eq!(machine.fault().map(|f| f.code), Some(FaultCode::GenerationOld));
    assert_eq!(machine.ledger().instruction.goal, Goal::Stage);
    machine.step(T0, order(5, Goal::Stage));
    assert_eq!(machine.fault(), None, "the stored instruction again makes it good");
}

#[test]
fn three_exits_bring_the_old_release_back() {
    let mut machine = switched(None, false);
    for n in 0..3 {
        let effects = machine.step(T0.plus(Span(n * 10)), Event::Exited { exit: "exit code 1".into() });
        assert_eq!(stops(&effects), n == 2, "exit {n}");
        if n < 2 {
            machine.step(T0.plus(Span(n * 10)), Event::Started(Ok(20 + n as u32)));
        }
    }
    assert_eq!(machine.ledger().direction, Direction::Back);
    machine.step(T0, Event::Stopped(Ok(Span(0))));
    machine.step(T0, Event::Switched(Ok(())));
    machine.step(T0, Event::Started(Ok(30)));
    machine.step(T0, Event::Probed(Probe { rpc_up: true, head: Some(6), head_advanced: true }));
    assert_eq!((machine.phase(), machine.ledger().direction), (AgentPhase::Failed, Direction::Back));
    assert_eq!(machine.ledger().current, release(0));
    assert_eq!(machine.fault().map(|f| f.code), Some(FaultCode::CrashLoop));
    // The same attempt does not try it again, also under a fresh permission.
    assert!(!stops(&machine.step(T0, order(2, switch(2, 60_000)))));
    assert_eq!(machine.phase(), AgentPhase::Failed);
}

#[test]
fn not_healthy_by_the_deadline_goes_back_unless_it_must_not() {
    let late = T0.plus(Limits::default().rpc);
    assert!(stops(&switched(None, false).step(late, Event::Tick)));
    for mut machine in [switched(None, true), switched(Some(10), false)] {
        machine.step(T0, Event::Probed(Probe { rpc_up: true, head: Some(10), head_advanced: false }));
        assert!(!stops(&machine.step(late, Event::Tick)));
        assert_eq!((machine.phase(), machine.ledger().direction), (AgentPhase::Failed, Direction::Forward));
        assert_eq!(machine.fault().map(|f| f.code), Some(FaultCode::NotHealthy));
        assert_eq!(machine.ledger().current, release(1));
    }
}

#[test]
fn an_ordered_rollback_needs_a_permission_and_ends_done() {
    let mut machine = switched(None, false);
    machine.step(T0, Event::Probed(Probe { rpc_up: true, head: Some(5), head_advanced: true }));
    let back = |id| {
        let permission = Permission { id, granted_at: T0, expires_at: UnixMs(T0.0 + 60_000) };
        Goal::Rollback { permission }
    };
    assert!(!stops(&machine.step(T0, order(2, back(1)))), "permission 1 is spent");
    assert!(stops(&machine.step(T0, order(3, back(2)))));
    machine.step(T0, Event::Stopped(Ok(Span(0))));
    machine.step(T0, Event::Switched(Ok(())));
    machine.step(T0, Event::Started(Ok(9)));
    machine.step(T0, Event::Probed(Probe { rpc_up: true, head: Some(7), head_advanced: true }));
    assert_eq!((machine.phase(), machine.ledger().direction), (AgentPhase::Done, Direction::Back));
    assert_eq!((&machine.ledger().current, machine.fault()), (&release(0), None));
}

#[test]
fn an_intended_stop_that_was_not_begun_lapses_with_its_permission() {
    let mut machine = running();
    machine.step(T0, order(1, switch(1, 60_000)));
    stage(&mut machine, None, false);
    let found = || Found {
        current: Some(release(0)),
        process: Some((7, T0)),
        running: Some(release(0).digest),
        stopping: false,
    };
    let (_, effects) = Machine::booted(machine.ledger().clone(), found(), T0.plus(Span(1_000)));
    assert!(stops(&effects));
    let late = T0.plus(Span(60_000));
    let (resumed, effects) = Machine::booted(machine.ledger().clone(), found(), late);
    assert!(!stops(&effects));
    assert_eq!(resumed.phase(), AgentPhase::Ready);
    let begun = Found { stopping: true, ..found() };
    let (_, effects) = Machine::booted(machine.ledger().clone(), begun, late);
    assert!(stops(&effects), "a stop that was begun is waited for");
}

#[test]
fn back_off_doubles_to_five_minutes_and_is_forgotten() {
    assert_eq!([1, 2, 3, 9, 10, 99].map(|n| back_off(n).0), [1_000, 2_000, 4_000, 256_000, 300_000, 300_000]);
    let mut machine = running();
    let up = Probe { rpc_up: true, head: Some(1), head_advanced: true };
    let mut now = T0;
    for restarts in 1..=2 {
        machine.step(now, Event::Exited { exit: "signal 9".into() });
        let until = now.plus(back_off(restarts));
        assert!(matches!(machine.process(), ProcessState::BackingOff { until: u, .. } if *u == until));
        now = until;
        machine.step(now, Event::Started(Ok(9)));
    }
    machine.step(now, Event::Probed(up.clone()));
    machine.step(now.plus(HEALTHY_AFTER), Event::Probed(up));
    machine.step(now, Event::Exited { exit: "signal 9".into() });
    assert!(matches!(machine.process(), ProcessState::BackingOff { restarts: 1, .. }));
}

#[test]
fn the_age_of_an_adopted_node_is_not_how_long_its_start_took() {
    let probe = || Event::Probed(Probe { rpc_up: true, head: Some(5), head_advanced: false });
    let mut ledger = Ledger::genesis(release(0).name, release(0).digest, T0);
    ledger.last_start = Some(Span(900));
    let found = Found { current: Some(release(0)), process: Some((7, T0)), ..Found::default() };
    let (mut machine, _) = Machine::booted(ledger, found, T0.plus(Span::mins(600)));
    machine.step(T0.plus(Span::mins(600)), probe());
    assert_eq!(machine.ledger().last_start, Some(Span(900)));
    // The next one is started before our eyes.
    let at = T0.plus(Span::mins(601));
    machine.step(at, Event::Exited { exit: "signal 9".into() });
    machine.step(at, Event::Started(Ok(8)));
    machine.step(at.plus(Span(300)), probe());
    assert_eq!(machine.ledger().last_start, Some(Span(300)));
}
