//! The dull part of an agent: carries out effects, slowly and not always well.
use super::host::{Process, staged};
use super::world::{Happening, World};
use common::id::NodeName;
use common::machine::{Effect, Event};
use common::release::InstalledRelease;
use common::time::Span;
use common::wire::v1::{Fault, FaultCode};

impl World {
    pub fn carry(&mut self, name: &NodeName, effects: Vec<Effect>) {
        for effect in effects {
            if self.hosts[name].machine.is_none() {
                return;
            }
            self.carry_one(name, effect);
            // The agent can die between any two effects.
            if self.mishap(4) {
                self.agent_dies(name);
            }
        }
    }

    fn carry_one(&mut self, name: &NodeName, effect: Effect) {
        match effect {
            Effect::Persist(ledger) => self.host(name).disk = *ledger,
            Effect::Stage { .. } => {
                let bad = self.hosts[name].cannot_download || self.mishap(20);
                let fault = self.fault(name, FaultCode::ArtifactUnavailable);
                let event = Event::Staged(if bad { Err(fault) } else { Ok(staged()) });
                self.job(name, 500, 9_000, event);
            }
            Effect::Preflight { .. } => {
                let fault = self.fault(name, FaultCode::BinaryUnusable);
                let event = Event::Preflighted(if self.mishap(10) { Err(fault) } else { Ok(()) });
                self.job(name, 200, 3_000, event);
            }
            Effect::Cancel => self.host(name).job += 1,
            Effect::Stop { .. } => self.stop(name),
            Effect::Prepare { .. } => {
                let fault = self.fault(name, FaultCode::SwitchFailed);
                let event = Event::Prepared(if self.mishap(60) { Err(fault) } else { Ok(()) });
                self.job(name, 50, 4_000, event);
            }
            Effect::Switch { release } => {
                let (life, works) = (self.hosts[name].life, !self.mishap(30));
                let delay = self.rng.range(50, 1_000);
                self.after(delay, Happening::Switch(name.clone(), life, release, works));
            }
            Effect::Start { release, not_before } => {
                let host = self.host(name);
                host.start += 1;
                let (life, start) = (host.life, host.start);
                let wait = not_before.0.saturating_sub(host.skew_ms);
                let delay = wait.saturating_sub(self.now) + self.rng.range(50, 1_500);
                self.after(delay, Happening::Start(name.clone(), life, start, release));
            }
            Effect::Report => {
                let life = self.hosts[name].life;
                self.sync(name, life, false);
            }
            Effect::Watch { .. } => {}
        }
    }

    pub fn host(&mut self, name: &NodeName) -> &mut super::host::Host {
        self.hosts.get_mut(name).unwrap()
    }

    fn fault(&self, name: &NodeName, code: FaultCode) -> Fault {
        Fault { code, detail: "in the simulator".into(), at: self.hosts[name].clock(self.now) }
    }

    fn job(&mut self, name: &NodeName, least: u64, most: u64, event: Event) {
        let host = self.host(name);
        host.job += 1;
        let (life, job) = (host.life, host.job);
        let delay = self.rng.range(least, most);
        self.after(delay, Happening::JobDone(name.clone(), life, job, Box::new(event)));
    }

    fn stop(&mut self, name: &NodeName) {
        self.judge_stop(name);
        let patience = self.rng.range(300, 9_000);
        let host = self.host(name);
        host.start += 1;
        host.stop_asked = true;
        let life = host.life;
        match &mut host.process {
            None => self.after(10, Happening::NothingToStop(name.clone(), life)),
            Some(process) if process.stopping => {}
            Some(process) => {
                process.stopping = true;
                let serial = process.serial;
                self.after(patience, Happening::ProcessGone(name.clone(), serial));
            }
        }
    }

    pub fn nothing_to_stop(&mut self, name: &NodeName, life: u64) {
        let host = self.host(name);
        if host.life == life && host.stop_asked && host.process.is_none() {
            host.stop_asked = false;
            self.feed(name, Event::Stopped(Ok(Span(0))));
        }
    }

    pub fn process_gone(&mut self, name: &NodeName, serial: u64) {
        let now = self.now;
        let host = self.host(name);
        let Some(process) = host.process.take_if(|p| p.serial == serial) else { return };
        let asked = host.stop_asked;
        let dying = process.stopping;
        host.stop_asked = false;
        if !dying && process.worked > 0 {
            host.worked_until = Some(now);
        }
        if !dying && process.digest != super::host::NEW {
            host.crashed_at = Some(now);
            host.fell = true;
        }
        self.say(format!("{name}: process {serial} is gone, stopping {dying}"));
        if asked {
            self.feed(name, Event::Stopped(Ok(Span(1_000))));
        } else {
            self.feed(name, Event::Exited { exit: "exit code 1".into() });
        }
    }

    pub fn switch(&mut self, name: &NodeName, life: u64, release: InstalledRelease, works: bool) {
        let fault = self.fault(name, FaultCode::SwitchFailed);
        let host = self.host(name);
        if host.life != life || host.machine.is_none() {
            return;
        }
        if host.process.is_some() {
            self.violated(format!("I11: {name} is switched under a running process"));
        }
        if works {
            self.host(name).current = release;
        }
        self.feed(name, Event::Switched(if works { Ok(()) } else { Err(fault) }));
    }

    pub fn start(&mut self, name: &NodeName, life: u64, start: u64, release: &InstalledRelease) {
        let (now, head) = (self.now, self.chain.head());
        let fault = self.fault(name, FaultCode::DigestMismatch);
        let up_after = self.rng.range(300, 6_000);
        let exit_after = self.rng.range(100, 5_000);
        let bad = self.mishap(20);
        let host = self.host(name);
        if host.life != life || host.start != start || host.machine.is_none() {
            return;
        }
        if host.process.is_some() {
            return self.violated(format!("I11: {name} would run two processes"));
        }
        if bad || host.current.digest != release.digest {
            return self.feed(name, Event::Started(Err(fault)));
        }
        self.serial += 1;
        let serial = self.serial;
        let host = self.host(name);
        let exits = host.exits_on_new && release.digest == super::host::NEW;
        host.process = Some(Process {
            serial,
            digest: release.digest,
            since: now,
            up_at: now + up_after,
            head_at_start: head,
            stopping: false,
            worked: 0,
        });
        self.say(format!("{name}: process {serial} of {} begins", release.name));
        if exits {
            self.after(exit_after, Happening::ProcessGone(name.clone(), serial));
        }
        self.feed(name, Event::Started(Ok(u32::try_from(serial).unwrap())));
    }

    /// The agent dies: what it was doing is forgotten, what it wrote and its node stay.
    pub fn agent_dies(&mut self, name: &NodeName) {
        let back = self.rng.range(500, 40_000);
        let host = self.host(name);
        if host.machine.take().is_none() {
            return;
        }
        host.life += 1;
        host.stop_asked = false;
        self.say(format!("{name}: agent dies"));
        self.after(back, Happening::AgentBack(name.clone()));
    }
}
