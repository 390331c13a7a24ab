//! What is wrong is refused with its reason; nothing of it stays, and the node is not touched.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]
mod support;

use common::chain::Hash32;
use common::manifest::Activation;
use common::release::Digest;
use common::time::{Span, UnixMs};
use common::wire::v1::{AgentPhase, FaultCode, Goal, Limits};
use serde_json::json;
use support::Host;
use support::coordinator::{Fleet, Serve, limits};
use support::release::{Release, sign};

/// The executable of a release in an archive.
fn packed(release: &mut Release) {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(release.bytes.len() as u64);
    builder.append_data(&mut header, "pkg/geth", &release.bytes[..]).unwrap();
    let artifact = &mut release.manifest.artifacts[0];
    (artifact.member, artifact.executable_sha256) = (Some("pkg/geth".into()), Some(artifact.sha256));
    artifact.url = "https://releases.example.org/geth.tar".into();
    release.bytes = builder.into_inner().unwrap();
    (artifact.sha256, artifact.size) = (Digest::of(&release.bytes), release.bytes.len() as u64);
}

type Spoil = fn(&Fleet, &mut Release);

fn manifest_of(release: &Release) -> String {
    release.reference().manifest.to_string()
}

fn artifact_of(release: &Release) -> String {
    release.manifest.artifacts[0].sha256.to_string()
}

/// Each case changes the release, publishes it, and then spoils what is published.
fn cases() -> Vec<(&'static str, FaultCode, Spoil)> {
    fn publish(fleet: &Fleet, release: &Release) {
        fleet.publish(release, &[0, 1]);
    }
    vec![
        ("no manifest", FaultCode::ManifestUnavailable, |_, _| {}),
        ("other manifest", FaultCode::ManifestMismatch, |fleet, release| {
            publish(fleet, release);
            fleet.serve(&manifest_of(release), Serve::Whole(b"{}".to_vec()));
        }),
        ("one signature too few", FaultCode::SignatureThreshold, |fleet, release| {
            fleet.publish(release, &[1]);
        }),
        ("the same key twice", FaultCode::SignatureThreshold, |fleet, release| {
            fleet.publish(release, &[1, 1]);
        }),
        ("a signature over something else", FaultCode::SignatureThreshold, |fleet, release| {
            publish(fleet, release);
            let other = sign(b"something else", &[&fleet.keys[0], &fleet.keys[1]]);
            let path = format!("{}.minisig", manifest_of(release));
            fleet.serve(&path, Serve::Whole(other.into_bytes()));
        }),
        ("wrong chain", FaultCode::WrongChain, |fleet, release| {
            release.manifest.chain_id = 1;
            publish(fleet, release);
        }),
        ("wrong genesis", FaultCode::WrongChain, |fleet, release| {
            release.manifest.genesis_hash = Hash32([9; 32]);
            publish(fleet, release);
        }),
        ("expired", FaultCode::ManifestExpired, |fleet, release| {
            release.manifest.expires_at = Some(UnixMs(1));
            publish(fleet, release);
        }),
        ("other platform", FaultCode::NoArtifact, |fleet, release| {
            release.manifest.artifacts[0].arch = "pdp11".into();
            publish(fleet, release);
        }),
        ("no artifact", FaultCode::ArtifactUnavailable, |fleet, release| {
            publish(fleet, release);
            fleet.shared.lock().unwrap().files.remove(&artifact_of(release));
        }),
        ("wrong digest", FaultCode::DigestMismatch, |fleet, release| {
            publish(fleet, release);
            let mut bytes = release.bytes.clone();
            bytes[0] ^= 1;
            fleet.serve(&artifact_of(release), Serve::Whole(bytes));
        }),
        ("too long", FaultCode::DigestMismatch, |fleet, release| {
            publish(fleet, release);
            let bytes = [release.bytes.clone(), vec![0; 10]].concat();
            fleet.serve(&artifact_of(release), Serve::Whole(bytes));
        }),
        ("archive without the member", FaultCode::BinaryUnusable, |fleet, release| {
            packed(release);
            release.manifest.artifacts[0].member = Some("geth".into());
            publish(fleet, release);
        }),
        ("archive with another executable", FaultCode::DigestMismatch, |fleet, release| {
            packed(release);
            release.manifest.artifacts[0].executable_sha256 = Some(Digest([1; 32]));
            publish(fleet, release);
        }),
        ("member without a digest", FaultCode::ManifestMismatch, |fleet, release| {
            packed(release);
            release.manifest.artifacts[0].executable_sha256 = None;
            publish(fleet, release);
        }),
        ("no executable", FaultCode::BinaryUnusable, |fleet, release| {
            release.bytes = b"<!DOCTYPE html>".to_vec();
            let artifact = &mut release.manifest.artifacts[0];
            (artifact.sha256, artifact.size) = (Digest::of(&release.bytes), release.bytes.len() as u64);
            publish(fleet, release);
        }),
        ("truncated", FaultCode::ArtifactUnavailable, |fleet, release| {
            publish(fleet, release);
            fleet.serve(&artifact_of(release), Serve::Truncated(release.bytes.clone()));
        }),
    ]
}

#[test]
fn each_with_its_reason_and_nothing_left() {
    let fleet = Fleet::start();
    let mut host = Host::new(&json!({"version": "1.0.0"}));
    host.settings(Some(&fleet), "leave", "20s");
    host.start();
    let pid = host.healthy();
    let short = Limits { download: Span::secs(2), ..limits() };
    for (n, (what, code, spoil)) in cases().into_iter().enumerate() {
        let version = format!("2.0.{n}");
        let mut release = Release::new(&format!("bad-{n}"), 5, &json!({"version": version}));
        spoil(&fleet, &mut release);
        let generation = fleet.order_within(&release.reference(), fleet.switch(), short);
        let report = fleet.reported(what, generation, |r| r.phase == AgentPhase::Failed);
        assert_eq!(report.fault.as_ref().unwrap().code, code, "{what}: {:?}", report.fault);
        assert_eq!(host.leftovers(), Vec::<std::path::PathBuf>::new(), "{what}");
        assert_eq!((host.nodes(), host.count("term")), (vec![pid], 0), "{what}");
    }

    // A good one, then one below its sequence; and one whose binary says another version.
    let mut good = Release::new("good", 9, &json!({"version": "3.0.0"}));
    let executable = Digest::of(&good.bytes);
    packed(&mut good);
    let generation = fleet.order(&fleet.publish(&good, &[0, 1]), Goal::Stage);
    fleet.reported("ready", generation, |r| r.phase == AgentPhase::Ready);
    let placed = host.root().join("upgrades/good/bin/geth");
    assert_eq!(Digest::of(&std::fs::read(placed).unwrap()), executable, "unpacked");
    let old = Release::new("old", 8, &json!({"version": "2.9.0"}));
    let generation = fleet.order(&fleet.publish(&old, &[0, 1]), Goal::Stage);
    let report = fleet.reported("old sequence", generation, |r| r.phase == AgentPhase::Failed);
    assert_eq!(report.fault.unwrap().code, FaultCode::SequenceTooOld);
    let mut liar = Release::new("liar", 9, &json!({"version": "3.1.0"}));
    liar.manifest.version = Some("9.9.9".into());
    liar.manifest.activation = Activation::BeforeHeight { height: 1_000_000 };
    let generation = fleet.order(&fleet.publish(&liar, &[0, 1]), fleet.switch());
    let report = fleet.reported("liar", generation, |r| r.phase == AgentPhase::Failed);
    assert_eq!(report.fault.unwrap().code, FaultCode::BinaryUnusable);
    assert_eq!((host.nodes(), host.count("term")), (vec![pid], 0));
    assert_ne!(executable, Digest::of(&liar.bytes));
}
