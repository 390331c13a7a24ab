//! Releases for tests: bytes that behave, manifests, signatures.
use common::chain::Hash32;
use common::id::ReleaseName;
use common::manifest::{Activation, Manifest};
use common::release::{Artifact, Digest, ReleaseRef};
use minisign::KeyPair;
use serde_json::Value;
use std::path::PathBuf;

/// The scripted node with its behaviour behind its last byte.
pub fn release_bytes(behaviour: &Value) -> Vec<u8> {
    let own = std::env::current_exe().unwrap();
    let folder: PathBuf = own.parent().unwrap().parent().unwrap().join("examples");
    let mut bytes = std::fs::read(folder.join("scripted_node")).unwrap();
    bytes.extend_from_slice(format!("\n##{behaviour}").as_bytes());
    bytes
}

/// Block 0 of the scripted chain.
pub fn genesis_hash() -> Hash32 {
    let mut hash = [0; 32];
    hash[0] = 1;
    Hash32(hash)
}

/// A release as its maintainers publish it.
#[derive(Clone)]
pub struct Release {
    pub manifest: Manifest,
    pub bytes: Vec<u8>,
}

impl Release {
    pub fn new(name: &str, sequence: u64, behaviour: &Value) -> Release {
        let bytes = release_bytes(behaviour);
        let artifact = Artifact {
            os: std::env::consts::OS.into(),
            arch: std::env::consts::ARCH.into(),
            variant: None,
            url: "https://releases.example.org/x".into(),
            sha256: Digest::of(&bytes),
            size: bytes.len() as u64,
            member: None,
            executable_sha256: None,
        };
        let manifest = Manifest {
            schema: 1,
            name: ReleaseName::new(name).unwrap(),
            sequence,
            chain_id: 0x2327,
            genesis_hash: genesis_hash(),
            activation: Activation::Anytime,
            forks: Vec::new(),
            irreversible: false,
            version: behaviour["version"].as_str().map(str::to_owned),
            expires_at: None,
            artifacts: vec![artifact],
        };
        Release { manifest, bytes }
    }

    pub fn json(&self) -> Vec<u8> {
        serde_json::to_vec(&self.manifest).unwrap()
    }

    pub fn reference(&self) -> ReleaseRef {
        self.manifest.as_ref(Digest::of(&self.json()))
    }
}

/// Signatures of these keys, one after the other.
pub fn sign(bytes: &[u8], keys: &[&KeyPair]) -> String {
    let one = |key: &&KeyPair| {
        let signature = minisign::sign(None, &key.sk, std::io::Cursor::new(bytes), None, Some("test"));
        signature.unwrap().into_string()
    };
    keys.iter().map(one).collect()
}
