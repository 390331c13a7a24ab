//! A coordinator whose mirror does not have the artifact.
use crate::server::Say;
use crate::signed::artifact;
use crate::site::{Site, name, script};
use agent::host::download::{Order, Stager};
use agent::host::verify::ChainId;
use agent::sync::coordinator::Coordinator;
use agent::sync::files::FleetFiles;
use common::chain::Hash32;
use common::machine::StagedRelease;
use common::manifest::{Activation, Manifest, TrustRoot};
use common::release::{Digest, InstalledRelease};
use common::time::Span;
use common::wire::v1::{Fault, FaultCode};
use minisign::KeyPair;
use std::path::PathBuf;
use std::sync::Arc;

/// Stages a release as an instruction names it; the server is mirror and publisher.
async fn stage(site: &Site, bytes: &[u8], mirrored: Say, allowed: bool) -> Result<StagedRelease, Fault> {
    let key = KeyPair::generate_unencrypted_keypair().unwrap();
    let chain = ChainId { chain_id: 1111, genesis_hash: Hash32([7; 32]) };
    let manifest = Manifest {
        schema: 1,
        name: name("v2"),
        sequence: 7,
        chain_id: chain.chain_id,
        genesis_hash: chain.genesis_hash,
        activation: Activation::Anytime,
        forks: Vec::new(),
        irreversible: false,
        version: None,
        expires_at: None,
        artifacts: vec![artifact(site.server.url("/published"), bytes, None, bytes)],
    };
    let json = serde_json::to_vec(&manifest).unwrap();
    let signature = minisign::sign(None, &key.sk, &json[..], None, Some("test")).unwrap().into_string();
    let path = format!("/v1/manifests/{}", Digest::of(&json));
    site.server.on(&format!("{path}.minisig"), [Say::Whole(signature.into_bytes())]);
    site.server.on(&path, [Say::Whole(json.clone())]);
    site.server.on(&format!("/v1/artifacts/{}", Digest::of(bytes)), [mirrored]);
    let files = FleetFiles::new(site.home.fleet());
    let stager = Stager {
        home: Arc::new(site.home.clone()),
        coordinator: Arc::new(Coordinator::new(&site.server.url(""), files).unwrap()),
        trust: Some(TrustRoot { threshold: 1, keys: vec![key.pk.to_base64()] }),
        variant: None,
        chain: tokio::sync::watch::channel(Some(chain)).1,
        download: Some(agent::config::DownloadSettings { allowed, ..site.settings.clone() }),
    };
    let order = Order {
        release: manifest.as_ref(Digest::of(&json)),
        within: Span::secs(30),
        highest_sequence: 0,
        clock_ahead_ms: 0,
        current: InstalledRelease { name: name("genesis"), sequence: 0, digest: Digest([0; 32]) },
    };
    stager.stage(order).await
}

#[tokio::test]
async fn the_publisher_is_asked_when_the_mirror_has_nothing() {
    let bytes = script(100_000);
    let site = Site::new().await;
    site.server.on("/published", [Say::Cut(bytes.clone(), 1000), Say::File(bytes.clone())]);
    let staged = stage(&site, &bytes, Say::Status(404), true).await.unwrap();
    assert_eq!(staged.installed.digest, Digest::of(&bytes));
    assert_eq!(std::fs::read(site.home.binary(&name("v2"))).unwrap(), bytes);
    assert_eq!(site.server.count("/published"), 2);
    assert_eq!(std::fs::read_dir(site.home.staging()).unwrap().count(), 0);
}

#[tokio::test]
async fn the_publisher_is_not_asked() {
    let bytes = script(100_000);
    let other = script(100_001);
    for (what, mirrored, allowed, code) in [
        ("not allowed", Say::Status(404), false, FaultCode::ArtifactUnavailable),
        ("forbidden", Say::Status(403), true, FaultCode::ArtifactUnavailable),
        ("wrong bytes", Say::Whole(other.clone()), true, FaultCode::DigestMismatch),
    ] {
        let site = Site::new().await;
        site.server.on("/published", [Say::File(bytes.clone())]);
        let fault = stage(&site, &bytes, mirrored, allowed).await.unwrap_err();
        assert_eq!((fault.code, site.server.count("/published")), (code, 0), "{what}: {fault:?}");
        assert_eq!(site.files(), Vec::<PathBuf>::new(), "{what}");
    }
    let site = Site::new().await;
    site.server.on("/published", [Say::File(other)]);
    let fault = stage(&site, &bytes, Say::Status(404), true).await.unwrap_err();
    assert_eq!((fault.code, site.server.count("/published")), (FaultCode::DigestMismatch, 1), "{fault:?}");
    assert_eq!(site.files(), Vec::<PathBuf>::new());
}
