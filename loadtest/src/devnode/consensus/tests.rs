use super::*;
use std::collections::VecDeque;

fn address(i: u8) -> Address {
    Address([i; 20])
}

/// A network in one thread: messages are delivered at once, the commit point is a vector.
struct World {
    now: u64,
    cores: Vec<Option<Core>>,
    chain: Vec<SealRecord>,
    forks: Vec<Vec<Fork>>,
}

impl World {
    fn new(forks: Vec<Vec<Fork>>) -> Self {
        let n = forks.len();
        let mut world = Self { now: 1_000_000, cores: (0..n).map(|_| None).collect(), chain: vec![], forks };
        (0..n).for_each(|i| world.start(i));
        world
    }

    fn start(&mut self, i: usize) {
        let validators =
            (0..self.cores.len()).map(|i| address(u8::try_from(i).unwrap() + 1)).collect::<Vec<_>>();
        let rules = Rules {
            me: validators[i],
            validators,
            block_ms: 100,
            request_timeout_ms: 200,
            forks: self.forks[i].clone(),
            sealing: true,
        };
        let mut core = Core::new(rules, None, self.now);
        for record in &self.chain {
            if core.check(record).is_err() {
                break;
            }
            core.new_head(record.clone(), self.now);
        }
        self.cores[i] = Some(core);
    }

    /// Delivers in the order of sending, as links do.
    fn deliver(&mut self, from: usize, effects: Vec<Effect>) {
        let mut queue: VecDeque<_> = effects.into_iter().map(|e| (from, e)).collect();
        while let Some((from, effect)) = queue.pop_front() {
            match effect {
                Effect::Broadcast(message) => {
                    for to in (0..self.cores.len()).filter(|to| *to != from) {
                        let out = self.hear(from, to, message.clone());
                        queue.extend(out.into_iter().map(|e| (to, e)));
                    }
                }
                Effect::Commit(proposal, committed) => self.commit(proposal, committed),
                _ => {}
            }
        }
    }

    fn hear(&mut self, from: usize, to: usize, message: Message) -> Vec<Effect> {
        let (sender, now) = (address(u8::try_from(from).unwrap() + 1), self.now);
        let Some(core) = &mut self.cores[to] else { return Vec::new() };
        match message {
            Message::Proposal(p) => core.on_proposal(sender, p, now),
            Message::Vote(v) => core.on_vote(sender, &v),
            Message::RoundChange { height, round } => core.on_round_change(sender, height, round, now),
            other => panic!("{other:?}"),
        }
    }

    fn commit(&mut self, proposal: Proposal, committed: Vec<Address>) {
        let found = self.chain.iter().find(|r| r.height() == proposal.height).cloned();
        let record = found.unwrap_or_else(|| {
            let record = SealRecord { proposal, committed, hash: None };
            self.chain.push(record.clone());
            record
        });
        for core in self.cores.iter_mut().flatten() {
            if core.check(&record).is_ok() {
                core.new_head(record.clone(), self.now);
            }
        }
    }

    fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end {
            self.now += 10;
            for i in 0..self.cores.len() {
                let now = self.now;
                let due = self.cores[i].as_ref().and_then(Core::next_wake_ms).is_some_and(|w| w <= now);
                if due && let Some(core) = &mut self.cores[i] {
                    let out = core.tick(now);
                    self.deliver(i, out);
                }
            }
        }
    }
}

#[test]
fn four_validators_take_turns() {
    let mut world = World::new(vec![vec![]; 4]);
    world.run(2_000);
    assert!(world.chain.len() >= 15, "{} blocks", world.chain.len());
    for (i, record) in world.chain.iter().enumerate() {
        assert_eq!(record.proposal.proposer, address(u8::try_from(i % 4).unwrap() + 1));
        assert_eq!(record.proposal.round, 0);
        assert!(record.committed.len() >= 3);
        if i > 0 {
            assert_eq!(record.proposal.prev_committed.len(), 4, "late seals are merged");
        }
    }
}

#[test]
fn a_stopped_proposer_costs_a_round_and_no_quorum_means_no_block() {
    let mut world = World::new(vec![vec![]; 4]);
    world.run(500);
    world.cores[2] = None;
    let before = world.chain.len();
    world.run(3_000);
    let after = &world.chain[before + 1..];
    assert!(after.iter().any(|r| r.proposal.round == 1), "its turns are taken in round 1");
    assert!(after.iter().all(|r| !r.proposal.prev_committed.contains(&address(3))));
    world.cores[3] = None;
    let stopped = world.chain.len();
    world.run(1_500);
    assert_eq!(world.chain.len(), stopped, "two of four are no quorum");
    let rounds: Vec<u64> = world.cores.iter().flatten().map(Core::round).collect();
    assert!(rounds.iter().all(|r| *r >= 2), "{rounds:?}");
    world.start(3);
    world.run(6_000);
    assert!(world.chain.len() > stopped, "with three it goes on");
}

#[test]
fn rules_part_at_the_fork_height() {
    let fork = vec![Fork { name: "boho".into(), height: 10 }];
    let mut world = World::new(vec![fork.clone(), fork.clone(), fork, vec![]]);
    world.run(4_000);
    assert!(world.chain.len() > 12);
    assert_eq!(world.cores[3].as_ref().unwrap().height(), 10, "the old release waits for its block 10");
    let record = world.chain[9].clone();
    let said = world.cores[3].as_ref().unwrap().check(&record).unwrap_err();
    assert!(matches!(said, RecordError::Fork { height: 10, .. }), "{said}");
    assert!(world.chain[11..].iter().all(|r| !r.committed.contains(&address(4))));
}

#[test]
fn a_record_without_a_quorum_of_different_validators_is_refused() {
    let mut world = World::new(vec![vec![]; 4]);
    world.run(150);
    let good = world.chain[0].clone();
    world.chain.clear();
    world.start(0);
    let core = world.cores[0].as_ref().unwrap();
    assert_eq!(core.check(&good), Ok(()));
    let mut twice = good.clone();
    twice.committed = vec![address(1), address(1), address(2)];
    assert_eq!(core.check(&twice), Err(RecordError::Seals { height: 1 }));
    let mut stranger = good.clone();
    stranger.committed = vec![address(1), address(2), address(99)];
    assert_eq!(core.check(&stranger), Err(RecordError::Seals { height: 1 }));
    let mut other = good;
    other.proposal.proposer = address(2);
    assert!(matches!(core.check(&other), Err(RecordError::Proposer { .. })));
}

#[test]
fn a_second_vote_for_another_block_is_reported() {
    let mut world = World::new(vec![vec![]; 4]);
    let core = world.cores[0].as_mut().unwrap();
    let vote = |digest: &str| Vote { height: 1, round: 0, digest: digest.into() };
    assert_eq!(core.on_vote(address(2), &vote("a")), vec![]);
    assert_eq!(core.on_vote(address(2), &vote("a")), vec![]);
    assert_eq!(core.on_vote(address(2), &vote("b")), vec![Effect::DoubleVote(address(2))]);
}
