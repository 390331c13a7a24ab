//! A coordinator small enough to read, over plain HTTP on loopback.
use super::release::{Release, sign};
use super::wait;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use common::release::ReleaseRef;
use common::time::Span;
use common::wire::v1::{Goal, Instruction, Limits, NodeReport, Permission, SyncRequest, SyncResponse};
use minisign::KeyPair;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How a path is answered.
#[derive(Clone)]
pub enum Serve {
    Whole(Vec<u8>),
    /// After this long.
    Slow(Vec<u8>, Duration),
    /// The length is announced, the rest never comes.
    Truncated(Vec<u8>),
}

#[derive(Default)]
pub struct Shared {
    pub files: BTreeMap<String, Serve>,
    pub instruction: Option<Instruction>,
    pub reports: Vec<(u64, NodeReport)>,
    pub fetched: Vec<String>,
    /// Told once with the next answer.
    pub certificate: Option<String>,
    permissions: u64,
}

pub type State_ = Arc<Mutex<Shared>>;

pub struct Fleet {
    pub url: String,
    pub keys: Vec<KeyPair>,
    pub shared: State_,
    runtime: Option<tokio::runtime::Runtime>,
}

/// Limits that fit a test.
pub fn limits() -> Limits {
    let secs = Span::secs;
    Limits { download: secs(10), stop: secs(20), start: secs(20), rpc: secs(20) }
}

pub fn router(shared: State_) -> Router {
    Router::new()
        .route("/v1/nodes/{node}/sync", post(sync))
        .route("/v1/manifests/{name}", get(file))
        .route("/v1/artifacts/{name}", get(file))
        .with_state(shared)
}

impl Fleet {
    pub fn start() -> Fleet {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let shared = State_::default();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = router(Arc::clone(&shared));
        runtime.spawn(async move { axum::serve(listener, app).await });
        let keys = (0..3).map(|_| KeyPair::generate_unencrypted_keypair().unwrap()).collect();
        Fleet { url, keys, shared, runtime: Some(runtime) }
    }

    /// The coordinator is gone from here on.
    pub fn end(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }

    pub fn trust(&self) -> String {
        let keys: Vec<String> = self.keys.iter().map(|k| format!("{:?}", k.pk.to_base64())).collect();
        format!("threshold = 2\nkeys = [{}]", keys.join(", "))
    }

    pub fn serve(&self, path: &str, how: Serve) {
        self.shared.lock().unwrap().files.insert(path.to_owned(), how);
    }

    /// Publishes a release, signed by these of the keys.
    pub fn publish(&self, release: &Release, signers: &[usize]) -> ReleaseRef {
        let keys: Vec<&KeyPair> = signers.iter().map(|i| &self.keys[*i]).collect();
        let (json, reference) = (release.json(), release.reference());
        let signatures = sign(&json, &keys).into_bytes();
        self.serve(&reference.manifest.to_string(), Serve::Whole(json));
        self.serve(&format!("{}.minisig", reference.manifest), Serve::Whole(signatures));
        let artifact = release.manifest.artifacts[0].sha256.to_string();
        self.serve(&artifact, Serve::Whole(release.bytes.clone()));
        reference
    }

    pub fn order(&self, release: &ReleaseRef, goal: Goal) -> u64 {
        self.order_within(release, goal, limits())
    }

    pub fn order_within(&self, release: &ReleaseRef, goal: Goal, limits: Limits) -> u64 {
        let mut shared = self.shared.lock().unwrap();
        let generation = shared.instruction.as_ref().map_or(0, |i| i.generation) + 1;
        let release = Some(release.clone());
        shared.instruction = Some(Instruction { generation, rollout: None, release, goal, limits });
        generation
    }

    pub fn permission(&self) -> Permission {
        let mut shared = self.shared.lock().unwrap();
        shared.permissions += 1;
        let now = agent::clock::now();
        Permission { id: shared.permissions, granted_at: now, expires_at: now.plus(Span::mins(1)) }
    }

    pub fn switch(&self) -> Goal {
        Goal::Switch { permission: self.permission() }
    }

    /// Waits for a report on this generation that fits.
    pub fn reported(&self, what: &str, generation: u64, fits: impl Fn(&NodeReport) -> bool) -> NodeReport {
        wait(what, || {
            let shared = self.shared.lock().unwrap();
            let (seen, report) = shared.reports.last()?;
            (*seen == generation && fits(report)).then(|| report.clone())
        })
    }
}

async fn sync(
    State(shared): State<State_>,
    Path(node): Path<String>,
    axum::Json(request): axum::Json<SyncRequest>,
) -> Response {
    assert_eq!(node, request.node.as_str());
    shared.lock().unwrap().reports.push((request.generation, request.report));
    let end = Instant::now() + Duration::from_millis(300);
    loop {
        let instruction = shared.lock().unwrap().instruction.clone().unwrap_or_else(Instruction::none);
        if instruction.generation > request.generation || Instant::now() >= end {
            let certificate = shared.lock().unwrap().certificate.take();
            let answer = SyncResponse { now: agent::clock::now(), instruction, hold: Span(300), certificate };
            return axum::Json(answer).into_response();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn file(State(shared): State<State_>, Path(name): Path<String>) -> Response {
    let how = {
        let mut shared = shared.lock().unwrap();
        shared.fetched.push(name.clone());
        shared.files.get(&name).cloned()
    };
    match how {
        None => StatusCode::NOT_FOUND.into_response(),
        Some(Serve::Whole(bytes)) => bytes.into_response(),
        Some(Serve::Slow(bytes, pause)) => {
            tokio::time::sleep(pause).await;
            bytes.into_response()
        }
        Some(Serve::Truncated(bytes)) => {
            let (announced, half) = (bytes.len(), Bytes::from(bytes[..bytes.len() / 2].to_vec()));
            let broken = Err(std::io::Error::other("cut off"));
            let stream = Cut(vec![broken, Ok(half)]);
            Response::builder().header("content-length", announced).body(Body::new(stream)).unwrap()
        }
    }
}

/// A body that breaks off.
struct Cut(Vec<Result<Bytes, std::io::Error>>);

impl http_body::Body for Cut {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, std::io::Error>>> {
        std::task::Poll::Ready(self.0.pop().map(|r| r.map(http_body::Frame::data)))
    }
}
