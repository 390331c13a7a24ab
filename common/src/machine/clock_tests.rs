//! A host's clock that was set while no agent ran, or that is set while one does.
use super::*;
use crate::id::ReleaseName;
use crate::release::{Digest, InstalledRelease, ReleaseRef};
use crate::wire::v1::{Direction, Limits};

const T0: UnixMs = UnixMs(1_700_000_000_000);
const HOUR: u64 = 3_600_000;

/// Before, at, and after the moment that the ledger knows.
const JUMPS: [UnixMs; 5] =
    [UnixMs(0), UnixMs(T0.0 - HOUR), T0, UnixMs(T0.0 + HOUR), UnixMs(T0.0 + 10_000 * HOUR)];

fn release(n: u8) -> InstalledRelease {
    let name = ReleaseName::new(format!("r{n}")).unwrap();
    InstalledRelease { name, sequence: 0, digest: Digest([n; 32]) }
}

fn plan() -> HostPlan {
    let release = ReleaseRef { name: release(1).name, sequence: 0, manifest: Digest([101; 32]) };
    HostPlan { release, height: None, halted_after: Span::secs(30), limits: Limits::default(), present: true }
}

/// A ledger of the middle of an upgrade, written at [`T0`].
fn under_way(phase: AgentPhase) -> Ledger {
    let mut ledger = Ledger::genesis(release(0).name, release(0).digest, T0);
    ledger.plan = Some(plan());
    ledger.target = Some(plan().release);
    ledger.staged = Some(release(1));
    ledger.destination = Some(release(1));
    (ledger.phase, ledger.direction) = (phase, Direction::Forward);
    if phase >= AgentPhase::Starting {
        (ledger.current, ledger.previous) = (release(1), Some(release(0)));
        ledger.current_manifest = Some(plan().release.manifest);
    }
    ledger
}

fn up(advanced: bool) -> Event {
    Event::Probed(Probe { rpc_up: true, head: Some(5), head_advanced: advanced })
}

fn stops(effects: &[Effect]) -> bool {
    effects.iter().any(|e| matches!(e, Effect::Stop { .. }))
}

#[test]
fn a_release_that_is_being_watched_has_its_whole_time_after_any_jump() {
    for now in JUMPS {
        let found = Found {
            current: Some(release(1)),
            process: Some((7, T0)),
            running: Some(release(1).digest),
            stopping: false,
        };
        let (mut machine, effects) = Machine::booted(under_way(AgentPhase::Probing), found, now);
        assert!(!stops(&effects), "{now:?}: {effects:?}");
        assert!(!stops(&machine.step(now, Event::Tick)), "{now:?}");
        let rpc = Limits::default().rpc;
        assert!(!stops(&machine.step(now.plus(Span(rpc.0 - 1)), Event::Tick)), "{now:?}");
        // And not for ever.
        let mut late = machine.clone();
        assert!(stops(&late.step(now.plus(rpc), Event::Tick)), "{now:?}");
        machine.step(now.plus(Span(rpc.0 - 1)), up(true));
        assert_eq!(machine.phase(), AgentPhase::Done, "{now:?}");
    }
}

#[test]
fn what_was_half_way_goes_on_after_any_jump() {
    use AgentPhase::{Preparing, Starting, Stopping, Switching};
    for now in JUMPS {
        for phase in [Stopping, Preparing, Switching, Starting] {
            let current = if phase == Starting { release(1) } else { release(0) };
            let found = Found { current: Some(current), ..Found::default() };
            let (_, effects) = Machine::booted(under_way(phase), found, now);
            let next = effects.iter().find_map(|e| match e {
                Effect::Prepare { .. } => Some(Preparing),
                Effect::Switch { release: to } => (*to == release(1)).then_some(Switching),
                Effect::Start { release: r, not_before } => {
                    (*r == release(1) && *not_before <= now).then_some(Starting)
                }
                _ => None,
            });
            let expected = if phase == Stopping { Preparing } else { phase };
            assert_eq!(next, Some(expected), "{now:?} {phase:?}: {effects:?}");
        }
    }
}

#[test]
fn a_node_that_ends_is_started_again_in_its_back_off_after_any_jump() {
    for jump in JUMPS {
        let ledger = Ledger::genesis(release(0).name, release(0).digest, T0);
        let found = Found { current: Some(release(0)), process: Some((7, T0)), ..Found::default() };
        let (mut machine, _) = Machine::booted(ledger, found, T0);
        let effects = machine.step(jump, Event::Exited { exit: "signal 9".into() });
        let at = effects.iter().find_map(|e| match e {
            Effect::Start { not_before, .. } => Some(*not_before),
            _ => None,
        });
        assert_eq!(at, Some(jump.plus(BACK_OFF_FIRST)), "{jump:?}: {effects:?}");
    }
}

/// The driver tells the time by a clock that does not jump, but backwards is what a machine must bear: it waits
/// longer then, and never acts early.
#[test]
fn a_clock_that_goes_back_makes_nothing_due() {
    let found = Found {
        current: Some(release(1)),
        process: Some((7, T0)),
        running: Some(release(1).digest),
        stopping: false,
    };
    let (mut machine, _) = Machine::booted(under_way(AgentPhase::Probing), found, T0);
    for back in [1, HOUR, T0.0] {
        let effects = machine.step(UnixMs(T0.0 - back), Event::Tick);
        assert!(!stops(&effects), "{back}: {effects:?}");
        machine.step(UnixMs(T0.0 - back), up(false));
        assert_eq!(machine.phase(), AgentPhase::Probing, "{back}");
    }
    machine.step(T0, up(true));
    assert_eq!(machine.phase(), AgentPhase::Done);
}
