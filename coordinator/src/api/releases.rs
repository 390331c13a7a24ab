//! Releases, manifests and artifacts.
use super::body::{NewRelease, ReleaseList};
use super::{App, Trouble};
use crate::fleet::{FleetError, Known, Write, now};
use crate::release::ReleaseRecord;
use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use common::id::ReleaseName;
use common::manifest::TrustRoot;
use common::release::Digest;
use futures_util::StreamExt as _;
use std::sync::Arc;

/// Verifies a manifest for this fleet: k of n signatures, chain, expiry.
///
/// # Errors
/// A refusal with the code of what is wrong.
pub(crate) fn verify(
    trust: Option<&TrustRoot>,
    network: &crate::config::Network,
    manifest_text: &str,
    signatures: &str,
) -> Result<ReleaseRecord, FleetError> {
    let refuse = |code, detail: String| FleetError::refused(422, code, detail);
    let trust = trust.ok_or_else(|| refuse("no-trust", "no maintainers are configured ([trust])".into()))?;
    let accepted = trust.accept(manifest_text.as_bytes(), signatures).map_err(|e| {
        let code = match &e {
            common::manifest::TrustError::Manifest(_) => "manifest-mismatch",
            common::manifest::TrustError::Root(_) => "no-trust",
            common::manifest::TrustError::Threshold { .. } => "signature-threshold",
        };
        refuse(code, e.to_string())
    })?;
    let manifest = accepted.manifest;
    if manifest.chain_id != network.chain_id || manifest.genesis_hash != network.genesis_hash {
        let detail = format!(
            "{} is for chain {} with genesis {}, this fleet is on {} with {}",
            manifest.name, manifest.chain_id, manifest.genesis_hash, network.chain_id, network.genesis_hash
        );
        return Err(refuse("wrong-chain", detail));
    }
    if manifest.expires_at.is_some_and(|at| at <= now()) {
        return Err(refuse("manifest-expired", format!("the manifest of {} has expired", manifest.name)));
    }
    Ok(ReleaseRecord {
        release: manifest.as_ref(accepted.digest),
        manifest,
        manifest_text: manifest_text.to_owned(),
        signatures: signatures.to_owned(),
        signers: accepted.signers,
        added_at: now(),
    })
}

/// Stores a verified release; the same again changes nothing, another manifest under the same name is refused.
///
/// # Errors
/// [`FleetError`].
pub(crate) async fn store(
    app_fleet: &crate::fleet::Fleet,
    record: ReleaseRecord,
) -> Result<ReleaseRecord, FleetError> {
    app_fleet
        .transact(|known| match same_stored(known, &record)? {
            Some(stored) => Ok((vec![], stored)),
            None => Ok((vec![Write::Release(Box::new(record.clone()))], record)),
        })
        .await
}

/// The release of this name when it is stored with the same manifest.
fn same_stored(known: &Known, record: &ReleaseRecord) -> Result<Option<ReleaseRecord>, FleetError> {
    match known.releases.get(&record.release.name) {
        Some(row) if row.value.digest() == record.digest() => Ok(Some(row.value.clone())),
        Some(row) => {
            let detail = format!("{} exists with manifest {}", record.release.name, row.value.digest());
            Err(FleetError::refused(409, "release-exists", detail))
        }
        None => Ok(None),
    }
}

pub(super) async fn add(
    State(app): State<Arc<App>>,
    body: Result<Json<NewRelease>, JsonRejection>,
) -> Result<Json<ReleaseRecord>, Trouble> {
    let Json(new) = body?;
    let record = verify(app.config.trust.as_ref(), &app.config.network, &new.manifest, &new.signatures)?;
    // Before anything is fetched: the bytes of a release that is refused have no place in the mirror.
    same_stored(&app.fleet.known(), &record)?;
    for artifact in &record.manifest.artifacts {
        app.mirror.fetch(artifact).await?;
    }
    Ok(Json(store(&app.fleet, record).await?))
}

pub(super) async fn list(State(app): State<Arc<App>>) -> Json<ReleaseList> {
    let mut releases: Vec<_> = app.fleet.known().releases.values().map(|r| r.value.clone()).collect();
    releases.sort_by_key(|r| r.release.sequence);
    Json(ReleaseList { releases })
}

pub(super) async fn show(
    State(app): State<Arc<App>>,
    name: Result<Path<ReleaseName>, PathRejection>,
) -> Result<Json<ReleaseRecord>, Trouble> {
    let Path(name) = name?;
    let found = app.fleet.known().releases.get(&name).map(|r| r.value.clone());
    found
        .map(Json)
        .ok_or_else(|| Trouble::new(404, "no-such-release", format!("release {name} was not added")))
}

/// `{digest}` is the manifest's bytes, `{digest}.minisig` its signatures.
pub(super) async fn manifest(
    State(app): State<Arc<App>>,
    file: Result<Path<String>, PathRejection>,
) -> Result<String, Trouble> {
    let Path(file) = file?;
    let digest: Digest = file
        .trim_end_matches(".minisig")
        .parse()
        .map_err(|e: common::release::DigestError| Trouble::new(400, "bad-path", e.to_string()))?;
    let known = app.fleet.known();
    let found = known.releases.values().find(|r| r.value.digest() == digest);
    let text =
        found.map(|r| if file.ends_with(".minisig") { &r.value.signatures } else { &r.value.manifest_text });
    text.cloned().ok_or_else(|| Trouble::new(404, "manifest-unavailable", format!("no manifest {digest}")))
}

pub(super) async fn artifact(
    State(app): State<Arc<App>>,
    digest: Result<Path<Digest>, PathRejection>,
) -> Result<Response, Trouble> {
    let Path(digest) = digest?;
    let missing = || Trouble::new(404, "artifact-unavailable", format!("the mirror does not hold {digest}"));
    let path = app.mirror.path(&digest).ok_or_else(missing)?;
    let file = tokio::fs::File::open(&path).await.map_err(|_| missing())?;
    let size = file.metadata().await.map_err(|_| missing())?.len();
    let body = Body::from_stream(tokio_util::io::ReaderStream::with_capacity(file, 128 * 1024));
    Ok(([(http::header::CONTENT_LENGTH, size)], body).into_response())
}

pub(super) async fn upload(
    State(app): State<Arc<App>>,
    digest: Result<Path<Digest>, PathRejection>,
    body: Body,
) -> Result<&'static str, Trouble> {
    let Path(digest) = digest?;
    let stream = body.into_data_stream().map(|chunk| chunk.map_err(|e| e.to_string()));
    app.mirror.take(&digest.to_string(), None, digest, stream).await?;
    Ok("stored\n")
}
