//! A plan that names a manifest.
use crate::archives::{gzip, tar};
use crate::server::Say;
use crate::site::{Site, name, script};
use agent::host::verify::ChainId;
use common::chain::Hash32;
use common::machine::Ledger;
use common::manifest::{Activation, Manifest, TrustRoot};
use common::release::{Artifact, Digest, InstalledRelease};
use common::time::UnixMs;
use common::wire::v1::FaultCode;
use minisign::KeyPair;
use std::path::PathBuf;
use tar::EntryType;

const CHAIN: ChainId = ChainId { chain_id: 1111, genesis_hash: Hash32([7; 32]) };

/// A release in an archive, with its maintainers and a host that knows them.
struct Signed {
    site: Site,
    keys: Vec<KeyPair>,
    manifest: Manifest,
    executable: Vec<u8>,
    archive: Vec<u8>,
}

pub fn artifact(url: String, file: &[u8], member: Option<&str>, executable: &[u8]) -> Artifact {
    Artifact {
        os: std::env::consts::OS.into(),
        arch: std::env::consts::ARCH.into(),
        variant: None,
        url,
        sha256: Digest::of(file),
        size: file.len() as u64,
        member: member.map(str::to_owned),
        executable_sha256: member.map(|_| Digest::of(executable)),
    }
}

impl Signed {
    async fn new() -> Signed {
        let mut site = Site::new().await;
        let keys: Vec<_> = (0..2).map(|_| KeyPair::generate_unencrypted_keypair().unwrap()).collect();
        let texts = keys.iter().map(|k| k.pk.to_base64()).collect();
        site.trust = Some(TrustRoot { threshold: 2, keys: texts });
        std::fs::write(site.home.chain(), serde_json::to_vec(&CHAIN).unwrap()).unwrap();
        let executable = script(100_000);
        let archive = gzip(&tar(&[("pkg/bin/gwemix", EntryType::Regular, &executable)]));
        let url = site.server.url("/v2.tar.gz");
        let manifest = Manifest {
            schema: 1,
            name: name("v2"),
            sequence: 7,
            chain_id: CHAIN.chain_id,
            genesis_hash: CHAIN.genesis_hash,
            activation: Activation::Anytime,
            forks: Vec::new(),
            irreversible: false,
            version: None,
            expires_at: None,
            artifacts: vec![artifact(url, &archive, Some("pkg/bin/gwemix"), &executable)],
        };
        Signed { site, keys, manifest, executable, archive }
    }

    /// Publishes it, signed by so many, and gives the plan's info.
    fn publish(&self, signers: usize) -> String {
        let bytes = serde_json::to_vec(&self.manifest).unwrap();
        let sign =
            |k: &KeyPair| minisign::sign(None, &k.sk, &bytes[..], None, Some("test")).unwrap().into_string();
        let signatures: String = self.keys[..signers].iter().map(sign).collect();
        self.site.server.on("/v2.tar.gz", [Say::File(self.archive.clone())]);
        self.site.server.on("/m.json", [Say::Status(503), Say::File(bytes.clone())]);
        self.site.server.on("/m.json.minisig", [Say::File(signatures.into_bytes())]);
        let url = self.site.server.url("/m.json");
        serde_json::json!({"manifest": url, "sha256": Digest::of(&bytes)}).to_string()
    }
}

#[tokio::test]
async fn a_signed_archive_is_placed_with_its_manifest() {
    let signed = Signed::new().await;
    let (site, digest) = (&signed.site, Digest::of(&signed.executable));
    let info = signed.publish(2);
    for _ in 0..2 {
        let installed = site.stage(&info).await.unwrap();
        assert_eq!(installed, InstalledRelease { name: name("v2"), sequence: 7, digest });
    }
    assert_eq!(site.server.count("/v2.tar.gz"), 1, "what is in the store is not fetched again");
    assert_eq!(std::fs::read(site.home.binary(&name("v2"))).unwrap(), signed.executable);
    let kept = site.home.manifest(&name("v2"));
    assert_eq!(Manifest::read(&std::fs::read(&kept).unwrap()).unwrap(), signed.manifest);
    let mut expected = [
        site.home.artifact(&digest),
        site.home.binary(&name("v2")),
        kept.with_extension("json.minisig"),
        kept,
    ];
    expected.sort();
    assert_eq!(site.files(), expected);
}

type Spoil = fn(&mut Signed);

/// The case, its fault, words of its detail, how many sign, and what is changed before.
fn cases() -> Vec<(&'static str, FaultCode, &'static str, usize, Spoil)> {
    use FaultCode as F;
    vec![
        ("one signature", F::SignatureThreshold, "1 of 2", 1, |_| {}),
        ("no keys here", F::SignatureThreshold, "[trust]", 2, |s| s.site.trust = None),
        ("another name", F::ManifestMismatch, "the plan is of v2", 2, |s| s.manifest.name = name("v3")),
        ("another chain", F::WrongChain, "chain 5", 2, |s| s.manifest.chain_id = 5),
        ("chain not known", F::WrongChain, "run it once", 2, |s| {
            std::fs::remove_file(s.site.home.chain()).unwrap();
        }),
        ("over", F::ManifestExpired, "ended", 2, |s| s.manifest.expires_at = Some(UnixMs(1))),
        ("a step back", F::SequenceTooOld, "below 9", 2, |s| {
            let mut ledger = Ledger::genesis(name("genesis"), Digest([0; 32]), UnixMs(1));
            ledger.highest_sequence = 9;
            agent::ledger::write(&s.site.home.ledger(), &ledger).unwrap();
        }),
        ("another platform", F::NoArtifact, "no artifact", 2, |s| {
            s.manifest.artifacts[0].os = "plan9".into()
        }),
        ("a variant", F::NoArtifact, "no variant", 2, |s| s.manifest.artifacts[0].variant = Some("x".into())),
        ("no executable digest", F::ManifestMismatch, "executable_sha256 is missing", 2, |s| {
            s.manifest.artifacts[0].executable_sha256 = None;
        }),
        ("member outside", F::ManifestMismatch, "no plain path", 2, |s| {
            s.manifest.artifacts[0].member = Some("../gwemix".into());
        }),
        ("member elsewhere", F::BinaryUnusable, "does not contain gwemix", 2, |s| {
            s.manifest.artifacts[0].member = Some("gwemix".into());
        }),
        ("wrong archive", F::DigestMismatch, "did not match", 2, |s| *s.archive.last_mut().unwrap() ^= 1),
        ("other length", F::DigestMismatch, "its manifest says", 2, |s| s.archive.push(0)),
        ("wrong executable", F::DigestMismatch, "in the archive", 2, |s| {
            s.manifest.artifacts[0].executable_sha256 = Some(Digest([1; 32]));
        }),
        ("a member of no archive", F::ArtifactUnavailable, "has a member", 2, |s| {
            s.manifest.artifacts[0].url = s.site.server.url("/geth");
        }),
        ("plain http", F::ManifestUnavailable, "plain http", 2, |s| s.site.settings.private = false),
    ]
}

#[tokio::test]
async fn what_is_not_believed() {
    for (what, code, words, signers, spoil) in cases() {
        let mut signed = Signed::new().await;
        spoil(&mut signed);
        let info = signed.publish(signers);
        signed.site.refused(what, &info, code, words).await;
    }
    let signed = Signed::new().await;
    let info = signed.publish(2);
    signed.site.server.on("/m.json.minisig", [Say::Status(404)]);
    signed.site.refused("no signatures", &info, FaultCode::ManifestUnavailable, "404").await;
    signed.publish(2);
    signed.site.server.on("/m.json", [Say::Whole(b"{}".to_vec())]);
    signed.site.refused("other manifest", &info, FaultCode::ManifestMismatch, "was named").await;
    assert_eq!(signed.site.files(), Vec::<PathBuf>::new());
}
