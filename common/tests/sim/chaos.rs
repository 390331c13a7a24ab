//! What goes wrong, and what people do about it.
use super::world::{Happening, World};
use common::rollout::Verb;
use common::time::UnixMs;

const VERBS: [Verb; 8] = [
    Verb::Pause,
    Verb::Resume,
    Verb::Resume,
    Verb::Promote,
    Verb::Retry,
    Verb::Retry,
    Verb::Abort,
    Verb::Rollback,
];

impl World {
    pub fn chaos(&mut self) {
        let names: Vec<_> = self.hosts.keys().cloned().collect();
        let name = self.rng.pick(&names);
        match self.rng.range(0, 99) {
            0..25 => self.agent_dies(&name),
            25..40 => {
                let cut = self.rng.range(5_000, 60_000);
                self.host(&name).cut_until = self.now + cut;
                self.say(format!("{name}: cut off for {cut} ms"));
            }
            40..50 if self.coordinator.up => {
                self.coordinator.crash();
                self.say("the coordinator dies".into());
                let back = self.rng.range(500, 40_000);
                self.after(back, Happening::CoordinatorBack);
            }
            50..65 => self.strangers(),
            65..73 => {
                let serial = self.hosts[&name].process.as_ref().filter(|p| !p.stopping).map(|p| p.serial);
                if let Some(serial) = serial {
                    self.host(&name).crashed_at = Some(self.now);
                    self.process_gone(&name, serial);
                }
            }
            73..88 if self.coordinator.up => {
                let verb = self.rng.pick(&VERBS);
                // Ending a rollout is rare, or nothing else is seen.
                let ending = matches!(verb, Verb::Abort | Verb::Rollback);
                if (!ending || self.rng.chance(400)) && self.coordinator.verb(verb, UnixMs(self.now)) {
                    self.say(format!("operator: {verb:?}"));
                }
            }
            _ => {}
        }
    }

    fn strangers(&mut self) {
        let now = self.now;
        let up = self.rng.chance(600);
        if let Some((address, stranger)) = self.foreign.iter_mut().next()
            && stranger.up != up
        {
            stranger.up = up;
            stranger.since = now;
            let text = format!("foreign {address} up {up}");
            self.say(text);
        }
    }

    /// Whoever was broken for a while is whole again.
    pub fn mend(&mut self) {
        let now = self.now;
        for stranger in self.foreign.values_mut().filter(|f| !f.up) {
            stranger.up = true;
            stranger.since = now;
        }
        self.hosts.values_mut().for_each(|h| h.cut_until = 0);
    }
}
