//! A host: the real machine over a dull model of disk and process. The process survives the agent, the machine does not.
use crate::toy;
use common::id::ReleaseName;
use common::machine::{Found, Ledger, Machine, StagedRelease};
use common::release::{Artifact, Digest, InstalledRelease};
use common::time::UnixMs;
use std::collections::BTreeMap;

pub const OLD: Digest = Digest([1; 32]);
pub const NEW: Digest = Digest([2; 32]);

pub fn old() -> InstalledRelease {
    InstalledRelease { name: ReleaseName::new("v1").unwrap(), sequence: 0, digest: OLD }
}

pub fn new() -> InstalledRelease {
    InstalledRelease { name: ReleaseName::new("v2").unwrap(), sequence: 2, digest: NEW }
}

pub fn staged() -> StagedRelease {
    let artifact = Artifact {
        os: "linux".into(),
        arch: "x86_64".into(),
        variant: None,
        url: String::new(),
        sha256: NEW,
        size: 1,
        member: None,
        executable_sha256: None,
    };
    StagedRelease {
        installed: new(),
        artifact: Some(artifact),
        activation_height: None,
        irreversible: false,
        at_height: false,
    }
}

/// The node process.
#[derive(Debug, Clone)]
pub struct Process {
    pub serial: u64,
    pub digest: Digest,
    pub since: u64,
    pub up_at: u64,
    pub head_at_start: u64,
    pub stopping: bool,
    /// Blocks it sealed, or followed when it has no vote.
    pub worked: u64,
}

#[derive(Debug)]
pub struct Host {
    /// `None` while the agent is dead.
    pub machine: Option<Machine>,
    pub disk: Ledger,
    /// Counts the lives of the agent; what an earlier life began has no event.
    pub life: u64,
    /// Counts long jobs; a cancelled job has no event.
    pub job: u64,
    /// Counts starts; a cancelled start does not happen.
    pub start: u64,
    pub current: InstalledRelease,
    pub process: Option<Process>,
    pub stop_asked: bool,
    /// Agent's clock minus the true one.
    pub skew_ms: u64,
    /// Until when the agent reaches nobody.
    pub cut_until: u64,
    /// Permissions that reached the agent, and their ends.
    pub delivered: BTreeMap<u64, UnixMs>,
    /// The permission used last.
    pub used: u64,
    pub generation: u64,
    /// When the process last ended without anybody of us asking.
    pub crashed_at: Option<u64>,
    /// Whether it is down since then.
    pub fell: bool,
    /// When a process that had worked last ended: its end may not be known yet.
    pub worked_until: Option<u64>,
    pub exits_on_new: bool,
    pub mute_on_new: bool,
    pub cannot_download: bool,
}

impl Host {
    pub fn new(now: u64, skew_ms: u64) -> Host {
        let disk = Ledger::genesis(old().name, OLD, UnixMs(now));
        let process = Process {
            serial: 1,
            digest: OLD,
            since: now,
            up_at: now,
            head_at_start: 0,
            stopping: false,
            worked: 1,
        };
        Host {
            machine: None,
            disk,
            life: 0,
            job: 0,
            start: 0,
            current: old(),
            process: Some(process),
            stop_asked: false,
            skew_ms,
            cut_until: 0,
            delivered: BTreeMap::new(),
            used: 0,
            generation: 0,
            crashed_at: None,
            worked_until: None,
            fell: false,
            exits_on_new: false,
            mute_on_new: false,
            cannot_download: false,
        }
    }

    pub fn clock(&self, now: u64) -> UnixMs {
        UnixMs(now + self.skew_ms)
    }

    pub fn found(&self) -> Found {
        let process = self.process.as_ref();
        Found {
            current: Some(self.current.clone()),
            process: process.map(|p| (u32::try_from(p.serial).unwrap(), self.clock(p.since))),
            running: process.map(|p| p.digest),
            stopping: process.is_some_and(|p| p.stopping),
        }
    }

    pub fn is_up(&self, now: u64) -> bool {
        self.process.as_ref().is_some_and(|p| p.up_at <= now)
    }

    pub fn seals(&self, now: u64) -> bool {
        let mute = self.mute_on_new && self.process.as_ref().is_some_and(|p| p.digest == NEW);
        self.is_up(now) && !mute
    }

    /// Whether the node is on the old or the new release and nothing else.
    pub fn is_whole(&self) -> bool {
        let known = |d: Digest| d == OLD || d == NEW;
        known(self.current.digest) && self.process.as_ref().is_none_or(|p| known(p.digest))
    }

    pub fn health(&self, now: u64, head: u64) -> common::wire::v1::NodeHealth {
        let rpc_up = self.is_up(now);
        let recent = if rpc_up {
            (head.saturating_sub(5)..=head).map(|h| toy::roots(h, false)).collect()
        } else {
            vec![]
        };
        common::wire::v1::NodeHealth { rpc_up, recent, peers: Some(8), ..Default::default() }
    }
}
