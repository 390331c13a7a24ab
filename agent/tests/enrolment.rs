//! Joining a fleet over real TLS, syncing with the certificate, renewing it.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]
mod support;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use common::release::Digest;
use rcgen::{BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use support::coordinator::{State_, router};
use support::{Host, wait};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

struct Ca {
    pem: String,
    hash: Digest,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    fn new() -> Ca {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let (pem, hash) = (certificate.pem(), Digest::of(certificate.der()));
        Ca { pem, hash, issuer: Issuer::new(params, key) }
    }

    fn sign(&self, csr: &str) -> String {
        CertificateSigningRequestParams::from_pem(csr).unwrap().signed_by(&self.issuer).unwrap().pem()
    }

    fn server(&self) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let own = params.signed_by(&key, &self.issuer).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(rustls::pki_types::CertificateDer::from(pem(&self.pem))).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .unwrap();
        ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![own.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap()
    }
}

fn pem(text: &str) -> Vec<u8> {
    use rustls::pki_types::pem::PemObject;
    rustls::pki_types::CertificateDer::from_pem_slice(text.as_bytes()).unwrap().to_vec()
}

/// A TLS listener that notes which client certificates it saw.
struct Listener {
    tcp: TcpListener,
    tls: TlsAcceptor,
    seen: Arc<Mutex<Vec<Digest>>>,
}

impl axum::serve::Listener for Listener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, address)) = self.tcp.accept().await else { continue };
            let Ok(stream) = self.tls.accept(stream).await else { continue };
            let shown = stream.get_ref().1.peer_certificates().and_then(|c| c.first());
            self.seen.lock().unwrap().extend(shown.map(|c| Digest::of(c)));
            return (stream, address);
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

type Desk = Arc<(Ca, Mutex<Vec<String>>)>;

async fn enrol(State(desk): State<Desk>, axum::Json(body): axum::Json<Value>) -> Response {
    if body["token"] != "right" {
        let problem = json!({"code": "token-unknown", "status": 401, "detail": "the token is not known"});
        return (StatusCode::UNAUTHORIZED, axum::Json(problem)).into_response();
    }
    let csr = body["csr"].as_str().unwrap().to_owned();
    desk.1.lock().unwrap().push(csr.clone());
    let trust = json!({"threshold": 1, "keys": [minisign::KeyPair::generate_unencrypted_keypair().unwrap().pk.to_base64()]});
    axum::Json(json!({"certificate": desk.0.sign(&csr), "ca": desk.0.pem, "trust": trust})).into_response()
}

#[test]
fn by_token_then_synced_then_renewed() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let ca = Ca::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let tcp = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("https://{}", tcp.local_addr().unwrap());
    let tls = TlsAcceptor::from(Arc::new(ca.server()));
    let listener = Listener { tcp, tls, seen: Arc::clone(&seen) };
    let (hash, ca_pem) = (ca.hash.to_string(), ca.pem.clone());
    let desk: Desk = Arc::new((ca, Mutex::new(Vec::new())));
    let shared = State_::default();
    let app = Router::new()
        .route("/v1/ca", get(move || async move { ca_pem }))
        .route("/v1/enroll", post(enrol))
        .with_state(Arc::clone(&desk))
        .merge(router(Arc::clone(&shared)));
    runtime.spawn(async move { axum::serve(listener, app).await });

    let mut host = Host::new(&json!({"version": "1.0.0"}));
    let fleet = host.root().join("fleet");
    let join = |token: &str, hash: &str| {
        host.command(&["enroll", "--url", &url, "--node", "val-01", "--token", token, "--ca-hash", hash])
    };
    let said = join("right", &"0".repeat(64));
    assert!(!said.status.success() && String::from_utf8_lossy(&said.stderr).contains("nothing was sent"));
    assert!(desk.1.lock().unwrap().is_empty(), "the token was said to somebody unknown");
    let said = join("wrong", &hash);
    assert!(!said.status.success() && String::from_utf8_lossy(&said.stderr).contains("not known"));
    assert!(join("right", &hash).status.success());
    let key = std::fs::read(fleet.join("agent.key")).unwrap();
    assert_eq!(std::fs::metadata(fleet.join("agent.key")).unwrap().permissions().mode() & 0o777, 0o600);
    let membership = std::fs::read_to_string(fleet.join("membership.json")).unwrap();
    assert!(join("right", &hash).status.success(), "joining again is safe");
    assert_eq!(std::fs::read(fleet.join("agent.key")).unwrap(), key, "the key is kept");
    assert_eq!(std::fs::read_to_string(fleet.join("membership.json")).unwrap(), membership, "trust is kept");

    host.settings(None, "stop", "20s");
    host.start();
    let shown = Digest::of(&pem(&std::fs::read_to_string(fleet.join("agent.crt")).unwrap()));
    wait("a sync", || shared.lock().unwrap().reports.last().map(|_| ()));
    assert!(seen.lock().unwrap().contains(&shown), "the certificate was not shown");

    let csr = desk.1.lock().unwrap()[0].clone();
    let fresh = desk.0.sign(&csr);
    let other = KeyPair::generate().unwrap();
    let foreign =
        CertificateParams::new(Vec::new()).unwrap().signed_by(&other, &desk.0.issuer).unwrap().pem();
    shared.lock().unwrap().certificate = Some(foreign);
    wait("the foreign one", || shared.lock().unwrap().certificate.is_none().then_some(()));
    shared.lock().unwrap().certificate = Some(fresh.clone());
    wait("the renewal", || {
        (std::fs::read_to_string(fleet.join("agent.crt")).unwrap() == fresh).then_some(())
    });
    let shown = Digest::of(&pem(&fresh));
    wait("a sync with the fresh one", || seen.lock().unwrap().contains(&shown).then_some(()));
}

#[test]
fn in_two_steps_as_an_installer_does() {
    let ca = Ca::new();
    let host = Host::new(&json!({"version": "1.0.0"}));
    let csr = host.command(&["enroll", "--csr-only", "--node", "val-01"]);
    let csr = String::from_utf8(csr.stdout).unwrap();
    let (crt, ca_file) = (host.folder.path().join("crt"), host.folder.path().join("ca"));
    std::fs::write(&crt, ca.sign(&csr)).unwrap();
    std::fs::write(&ca_file, &ca.pem).unwrap();
    let finish = || {
        let (crt, ca) = (crt.to_str().unwrap(), ca_file.to_str().unwrap());
        let args = [
            "enroll",
            "--install-certificate",
            crt,
            "--ca",
            ca,
            "--url",
            "https://a.example",
            "--node",
            "val-01",
        ];
        host.command(&args)
    };
    assert!(finish().status.success());
    let other = KeyPair::generate().unwrap();
    let foreign = CertificateParams::new(Vec::new()).unwrap().signed_by(&other, &ca.issuer).unwrap().pem();
    std::fs::write(&crt, foreign).unwrap();
    let said = finish();
    assert!(!said.status.success(), "a certificate for another key was taken");
    assert!(String::from_utf8_lossy(&said.stderr).contains("not for the key"), "{said:?}");
}
