//! Between agents and coordinator: loss, delay, copies, and late comers that overtake nobody.
use super::world::{Happening, World};
use common::id::NodeName;
use common::inventory::Observation;
use common::machine::Event;
use common::time::UnixMs;
use common::wire::v1::{Goal, Instruction, NodeReport};

impl World {
    /// Sends the full report; `again` keeps the loop of syncs going.
    pub fn sync(&mut self, name: &NodeName, life: u64, again: bool) {
        let host = &self.hosts[name];
        let Some(machine) = host.machine.as_ref().filter(|_| host.life == life) else { return };
        if self.now >= host.cut_until {
            let health = host.health(self.now, self.chain.head());
            let report = machine.report(host.clock(self.now), "sim", health);
            let generation = host.disk.instruction.generation;
            let copies = if self.mishap(50) { 2 } else { 1 };
            for _ in 0..copies {
                if self.mishap(80) {
                    continue;
                }
                let delay = self.delay();
                self.after(
                    delay,
                    Happening::ReportArrives(name.clone(), generation, Box::new(report.clone())),
                );
            }
        }
        if again {
            let pause = self.rng.range(1_500, 4_000);
            self.after(pause, Happening::Sync(name.clone(), life));
        }
    }

    fn delay(&mut self) -> u64 {
        if self.mishap(50) { self.rng.range(500, 8_000) } else { self.rng.range(5, 300) }
    }

    pub fn report_arrives(&mut self, name: NodeName, generation: u64, report: NodeReport) {
        if !self.coordinator.up {
            return;
        }
        let Some(view) = self.coordinator.input.nodes.get_mut(&name) else { return };
        view.observed = Some(Observation { received_at: UnixMs(self.now), generation, report });
        let instruction = Box::new(view.desired.clone());
        let copies = if self.mishap(50) { 2 } else { 1 };
        for _ in 0..copies {
            if !self.mishap(80) {
                // Now and then one comes after its permission has ended.
                let delay = if self.mishap(15) { self.rng.range(60_000, 260_000) } else { self.delay() };
                self.after(delay, Happening::InstructionArrives(name.clone(), instruction.clone()));
            }
        }
    }

    pub fn instruction_arrives(&mut self, name: &NodeName, instruction: Instruction) {
        let error_ms = i64::try_from(self.rng.range(0, 1_600)).unwrap() - 800;
        let now = self.now;
        let Some(host) = self.hosts.get_mut(name) else { return };
        if host.machine.is_none() || now < host.cut_until || instruction.generation == 0 {
            return;
        }
        if let Goal::Switch { permission } | Goal::Rollback { permission } = &instruction.goal {
            host.delivered.insert(permission.id, permission.expires_at);
        }
        let clock_ahead_ms = error_ms - i64::try_from(host.skew_ms).unwrap();
        self.feed(name, Event::Instructed { instruction: Box::new(instruction), clock_ahead_ms });
    }
}
