//! What a power cut can leave of files that were being written: the old one, the new one, or a plain refusal.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]
mod support;

use agent::host::files::beside;
use agent::ledger::{self, LedgerError};
use common::machine::Ledger;
use common::wire::v1::AgentPhase;
use serde_json::json;
use std::path::Path;
use support::life::{Random, identity};
use support::{Host, send, wait};

/// Two ledgers of one host, one after the other, as bytes.
struct Pair {
    folder: tempfile::TempDir,
    ledgers: [Ledger; 2],
    bytes: [Vec<u8>; 2],
}

impl Pair {
    fn new() -> Pair {
        let folder = tempfile::tempdir().unwrap();
        let release = |name: &str| {
            (common::id::ReleaseName::new(name).unwrap(), common::release::Digest::of(name.as_bytes()))
        };
        let ((genesis, first), (v2, second)) = (release("genesis"), release("v2"));
        let old = Ledger::genesis(genesis, first, common::time::UnixMs(1_700_000_000_000));
        let mut new = old.clone();
        (new.current.name, new.current.digest, new.phase) = (v2, second, AgentPhase::Done);
        (new.previous, new.head) = (Some(old.current.clone()), Some(12_345));
        let path = folder.path().join("ledger.json");
        let bytes = [&old, &new].map(|ledger| {
            ledger::write(&path, ledger).unwrap();
            std::fs::read(&path).unwrap()
        });
        Pair { folder, ledgers: [old, new], bytes }
    }

    /// A folder with the ledger, and its successor beside it, as given.
    fn image(&self, ledger: Option<&[u8]>, beside_it: Option<&[u8]>) -> std::path::PathBuf {
        let path = self.folder.path().join("ledger.json");
        for (path, content) in [(path.clone(), ledger), (beside(&path), beside_it)] {
            let _ = std::fs::remove_file(&path);
            if let Some(content) = content {
                std::fs::write(&path, content).unwrap();
            }
        }
        path
    }
}

/// What may be in a file whose bytes were not flushed: any beginning, also with its whole length in zeros.
fn torn(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..bytes.len()).flat_map(|n| {
        let mut zeros = bytes.to_vec();
        zeros[n..].fill(0);
        [bytes[..n].to_vec(), zeros]
    })
}

#[test]
fn before_the_rename_the_old_ledger_counts_and_after_it_the_new_one() {
    let pair = Pair::new();
    let [old, new] = &pair.bytes;
    let mut images = 0;
    for torn in torn(new) {
        let path = pair.image(Some(old), Some(&torn));
        assert_eq!(ledger::read(&path).unwrap().as_ref(), Some(&pair.ledgers[0]), "{} bytes", torn.len());
        // What is left is in nobody's way.
        if images % 97 == 0 {
            ledger::write(&path, &pair.ledgers[1]).unwrap();
            assert_eq!(ledger::read(&path).unwrap().as_ref(), Some(&pair.ledgers[1]));
            assert!(!beside(&path).exists());
        }
        images += 1;
    }
    assert!(images > 1000, "{images}");
    let whole = [(Some(old), Some(new), 0), (Some(new), None, 1), (Some(new), Some(new), 1)];
    for (at, beside_it, expected) in whole {
        let path = pair.image(at.map(Vec::as_slice), beside_it.map(Vec::as_slice));
        assert_eq!(ledger::read(&path).unwrap().as_ref(), Some(&pair.ledgers[expected]));
    }
    let path = pair.image(None, Some(new));
    assert!(ledger::read(&path).unwrap().is_none(), "before the first one there is none");
}

/// A disk that does not keep its promises.
#[test]
fn a_ledger_that_is_torn_under_its_own_name_is_refused_by_name() {
    let pair = Pair::new();
    let [old, new] = &pair.bytes;
    let refused = |content: &[u8]| {
        let path = pair.image(Some(content), None);
        match ledger::read(&path) {
            Err(e @ LedgerError::Damaged { .. }) => {
                assert!(e.to_string().contains(&path.display().to_string()), "{e}");
            }
            other => panic!("{:?} was read as {other:?}", String::from_utf8_lossy(content)),
        }
    };
    torn(new).for_each(|content| refused(&content));
    // Sectors of two writes: a beginning of one with the rest of the other.
    for n in (1..old.len().min(new.len())).filter(|n| old[..*n] != new[..*n] && old[*n..] != new[*n..]) {
        refused(&[&new[..n], &old[n..]].concat());
        refused(&[&old[..n], &new[n..]].concat());
    }
    let mut random = Random(3);
    for at in 0..new.len() {
        let mut flipped = new.clone();
        flipped[at] ^= 1 << random.below(8);
        let path = pair.image(Some(&flipped), None);
        // Only what says the same in other letters may be read.
        if let Ok(read) = ledger::read(&path) {
            assert_eq!(read.as_ref(), Some(&pair.ledgers[1]), "byte {at}");
        }
    }
}

/// A home on its second release, its node down, with both of its ledgers.
fn upgraded() -> (Host, [Vec<u8>; 2]) {
    let mut host = Host::new(&json!({"version": "1.0.0"}));
    host.plan_settings("");
    host.add("v2", &json!({"version": "2.0.0"}));
    host.start();
    host.healthy();
    let path = host.home().ledger();
    let old = std::fs::read(&path).unwrap();
    let said = host.command(&["upgrade", "schedule", "v2", "now"]);
    assert!(said.status.success(), "{said:?}");
    host.runs("v2");
    wait("rest", || (host.ledger().phase == AgentPhase::Idle).then_some(()));
    host.kill_agent();
    end_node(&host);
    let new = std::fs::read(&path).unwrap();
    (host, [old, new])
}

/// As a power cut does.
fn end_node(host: &Host) {
    for pid in host.nodes() {
        send("KILL", pid);
    }
    wait("the end of the node", || host.nodes().is_empty().then_some(()));
}

fn link(host: &Host, to: Option<&str>) {
    let _ = std::fs::remove_file(host.home().current());
    if let Some(to) = to {
        std::os::unix::fs::symlink(to, host.home().current()).unwrap();
    }
}

#[test]
fn on_each_image_of_ledger_and_link_the_release_of_the_ledger_is_run() {
    let (mut host, ledgers) = upgraded();
    let (ledger, current) = (host.home().ledger(), host.home().current());
    // A link to a release with an applied plan, above a ledger that never left the one before, is another supervisor's
    // doing and is followed; a power cut between the switch and the note of it leaves no applied plan.
    std::fs::remove_file(host.root().join("upgrades/v2/upgrade-info.json")).unwrap();
    let folders = ["genesis", "upgrades/v2"];
    for (which, bytes) in ledgers.iter().enumerate() {
        for to in [Some(folders[0]), Some(folders[1]), None] {
            for (left, torn) in [(None, 0), (Some(folders[1 - which]), bytes.len() / 2)] {
                std::fs::write(&ledger, bytes).unwrap();
                link(&host, to);
                if let Some(left) = left {
                    let _ = std::os::unix::fs::symlink(left, beside(&current));
                    std::fs::write(beside(&ledger), &ledgers[1 - which][..torn]).unwrap();
                }
                let before = host.count("started");
                host.start();
                let name = ["genesis", "v2"][which];
                let image = format!("ledger {name}, current {to:?}, beside it {left:?}");
                let pid = host.running();
                wait(&image, || (host.count("started") == before + 1).then_some(()));
                let version = ["started 1.0.0", "started 2.0.0"][which];
                assert!(host.events().last().unwrap().starts_with(version), "{image}: {:?}", host.events());
                assert_eq!((host.current().as_str(), host.nodes()), (name, vec![pid]), "{image}");
                host.kill_agent();
                end_node(&host);
            }
        }
    }
    assert_eq!(host.count("double"), 0);
}

fn refused(host: &mut Host, what: &str) {
    host.start();
    assert_eq!(host.agent_ends(), Some(1), "{what}");
    let said = host.said();
    let last = said.lines().last().unwrap_or_default();
    let path = host.home().ledger().display().to_string();
    assert!(last.contains(&path) && last.contains("damaged"), "{what}: {said}");
}

#[test]
fn with_a_damaged_ledger_nothing_is_started_and_nothing_that_runs_is_touched() {
    let (mut host, [_, new]) = upgraded();
    let ledger = host.home().ledger();
    let before = host.count("started");
    let damaged = [Vec::new(), new[..new.len() / 2].to_vec(), vec![0; new.len()]];
    for content in &damaged {
        std::fs::write(&ledger, content).unwrap();
        refused(&mut host, "with the node down");
    }
    assert_eq!((host.count("started"), host.nodes()), (before, Vec::new()));
    std::fs::write(&ledger, &new).unwrap();
    let terms = host.count("term");
    host.start();
    let pid = host.healthy();
    let node = identity(pid);
    host.kill_agent();
    for content in &damaged {
        std::fs::write(&ledger, content).unwrap();
        refused(&mut host, "with the node up");
        assert_eq!((host.nodes(), identity(pid)), (vec![pid], node));
    }
    std::fs::write(&ledger, &new).unwrap();
    host.start();
    assert_eq!((host.running(), host.count("term")), (pid, terms));
}

#[test]
fn on_each_image_of_the_process_record_the_node_is_adopted() {
    let mut host = Host::new(&json!({"version": "1.0.0"}));
    host.settings(None, "stop", "20s");
    host.start();
    let pid = host.healthy();
    let node = identity(pid);
    host.kill_agent();
    let record = host.home().process();
    let bytes = std::fs::read(&record).unwrap();
    let half = bytes[..bytes.len() / 2].to_vec();
    let zeros = vec![0; bytes.len()];
    let write = |path: &Path, content: Option<&[u8]>| {
        let _ = std::fs::remove_file(path);
        if let Some(content) = content {
            std::fs::write(path, content).unwrap();
        }
    };
    for at in [None, Some(&[][..]), Some(&half), Some(&zeros), Some(&bytes)] {
        for left in [None, Some(&[][..]), Some(&half), Some(&bytes)] {
            write(&record, at);
            write(&beside(&record), left);
            host.start();
            let image = format!("{:?} bytes, beside it {:?}", at.map(<[u8]>::len), left.map(<[u8]>::len));
            assert_eq!((host.running(), identity(pid)), (pid, node), "{image}");
            host.kill_agent();
        }
    }
    assert_eq!((host.count("started"), host.count("term"), host.count("double")), (1, 0, 0));
}
