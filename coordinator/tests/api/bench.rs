//! A coordinator on a free port with operators of every role, agents, and a maintainers' release.
use common::chain::Hash32;
use common::id::{NodeName, ReleaseName};
use common::manifest::{Activation, Manifest};
use common::release::{Artifact, Digest};
use common::time::{Span, UnixMs};
use common::wire::problem::Problem;
use common::wire::v1::{AgentPhase, Direction, NodeHealth, NodeReport, ProcessState, SyncRequest};
use coordinator::api::body::Enrolled;
use coordinator::auth::OperatorRole;
use coordinator::config::Config;
use coordinator::init::{InitOptions, init};
use coordinator::server::{Running, start};
use minisign::KeyPair;
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Nothing here takes longer, however slow the machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running coordinator with what is needed to talk to it.
pub struct Bench {
    pub dir: TempDir,
    pub running: Running,
    pub keys: Vec<KeyPair>,
    pub tokens: BTreeMap<OperatorRole, String>,
    pub client: Client,
    ca: reqwest::Certificate,
}

fn text(keys: &[KeyPair]) -> String {
    let keys: Vec<String> = keys.iter().map(|k| format!("{:?}", k.pk.to_base64())).collect();
    format!(
        r#"schema = 1
data_dir = "data"
listen = "127.0.0.1:0"

[network]
name = "devnet"
chain_id = 1337
genesis_hash = "{}"

[trust]
threshold = 2
keys = [{}]

[artifacts]
max_bytes = 4096

[agents]
hold = "1m"
silent_after = "2m"
"#,
        Hash32([7; 32]),
        keys.join(", ")
    )
}

impl Bench {
    /// Makes a fleet and starts its coordinator.
    pub async fn new() -> Bench {
        let _set_by_another_test = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let keys: Vec<_> = (0..3).map(|_| KeyPair::generate_unencrypted_keypair().unwrap()).collect();
        let home = dir.path().join("fleet");
        let options = InitOptions { dir: home, config: Some(text(&keys)), token_life: Span::mins(5) };
        let made = init(&options).await.unwrap();
        let running = start(Config::load(&made.config).unwrap()).await.unwrap();
        let ca = reqwest::Certificate::from_pem(&std::fs::read(&made.ca).unwrap()).unwrap();
        let client = Client::builder().tls_certs_only([ca.clone()]).timeout(PATIENCE).build().unwrap();
        let tokens = BTreeMap::from([(OperatorRole::Admin, made.admin_token)]);
        let mut bench = Bench { dir, running, keys, tokens, client, ca };
        for role in [OperatorRole::Viewer, OperatorRole::Operator, OperatorRole::Approver] {
            let body = json!({"name": role.to_string(), "role": role, "ttl": "5m"});
            let made = bench.ok(Method::POST, "/v1/tokens", &body).await;
            bench.tokens.insert(role, made["token"].as_str().unwrap().to_owned());
        }
        bench
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.running.addr)
    }

    pub fn artifacts(&self) -> PathBuf {
        self.dir.path().join("fleet/data/artifacts")
    }

    /// Names of everything in the mirror.
    pub fn mirrored(&self) -> Vec<String> {
        let found = std::fs::read_dir(self.artifacts()).unwrap();
        found.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// A request in a role.
    pub async fn ask(&self, role: OperatorRole, method: Method, path: &str, body: &Value) -> Response {
        let request = self.client.request(method, self.url(path)).bearer_auth(&self.tokens[&role]);
        request.json(body).send().await.unwrap()
    }

    /// A request of the admin that must succeed.
    pub async fn ok(&self, method: Method, path: &str, body: &Value) -> Value {
        let answer = self.ask(OperatorRole::Admin, method, path, body).await;
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    pub async fn get(&self, path: &str) -> Value {
        self.ok(Method::GET, path, &Value::Null).await
    }

    /// A request of the admin that must be refused.
    pub async fn refused(&self, method: Method, path: &str, body: &Value) -> (u16, String) {
        problem(self.ask(OperatorRole::Admin, method, path, body).await).await
    }

    pub async fn add_rpc_node(&self, name: &str) {
        let body = json!({"name": name, "network": "devnet", "role": "rpc"});
        self.ok(Method::POST, "/v1/nodes", &body).await;
    }

    pub async fn join_token(&self, node: &str) -> String {
        let made = self.ok(Method::POST, &format!("/v1/nodes/{node}/join-token"), &json!({})).await;
        made["token"].as_str().unwrap().to_owned()
    }

    /// Registers nothing; enrols a registered node with a fresh key and gives its client.
    pub async fn enrol(&self, node: &str) -> Client {
        let (key, csr) = request();
        let body = json!({"node": node, "token": self.join_token(node).await, "csr": csr});
        let answer = self.client.post(self.url("/v1/enroll")).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let enrolled: Enrolled = answer.json().await.unwrap();
        let pem = format!("{}{}", key, enrolled.certificate);
        let identity = reqwest::Identity::from_pem(pem.as_bytes()).unwrap();
        let builder = Client::builder().tls_certs_only([self.ca.clone()]).identity(identity);
        builder.timeout(PATIENCE).build().unwrap()
    }

    /// Ends the coordinator and starts another one on the same directory.
    pub async fn restart(self) -> Bench {
        let Bench { dir, running, keys, tokens, client, ca } = self;
        running.shutdown();
        running.wait().await;
        let config = Config::load(&dir.path().join("fleet/wemixfleet.toml")).unwrap();
        let running = start(config).await.unwrap();
        Bench { dir, running, keys, tokens, client, ca }
    }

    /// Ends the coordinator.
    pub async fn stop(self) {
        self.running.shutdown();
        drop(self.client);
        self.running.wait().await;
    }

    /// The body of `POST /v1/releases`, signed by these keys.
    pub fn signed(&self, manifest: &str, by: &[usize]) -> Value {
        let one = |i: &usize| {
            let bytes = std::io::Cursor::new(manifest.as_bytes());
            minisign::sign(None, &self.keys[*i].sk, bytes, None, Some("test")).unwrap().into_string()
        };
        json!({"manifest": manifest, "signatures": by.iter().map(one).collect::<String>()})
    }
}

/// A key (PEM) and a certificate request by it (PEM).
pub fn request() -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let csr = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
    (key.serialize_pem(), csr.pem().unwrap())
}

/// Status and code of an answer that must be a problem.
pub async fn problem(answer: Response) -> (u16, String) {
    let (status, kind) = (answer.status().as_u16(), answer.headers().get("content-type").cloned());
    let text = answer.text().await.unwrap();
    assert_eq!(kind.unwrap(), "application/problem+json", "{status}: {text}");
    let problem: Problem = serde_json::from_str(&text).unwrap();
    assert_eq!(problem.status, status, "{text}");
    assert!(!problem.detail.is_empty() && !problem.request_id.is_empty(), "{text}");
    (status, problem.code)
}

pub fn told(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// Waits for something that has to come.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A manifest of this fleet's chain for one file.
pub fn manifest(name: &str, url: &str, bytes: &[u8]) -> Manifest {
    Manifest {
        schema: 1,
        name: ReleaseName::new(name).unwrap(),
        sequence: 1,
        chain_id: 1337,
        genesis_hash: Hash32([7; 32]),
        activation: Activation::Anytime,
        forks: Vec::new(),
        irreversible: false,
        version: None,
        expires_at: None,
        artifacts: vec![Artifact {
            os: "linux".into(),
            arch: "x86_64".into(),
            variant: None,
            url: url.into(),
            sha256: Digest::of(bytes),
            size: bytes.len() as u64,
            member: None,
            executable_sha256: None,
        }],
    }
}

/// What a node that does nothing reports.
pub fn sync_of(node: &str, generation: u64, hold: bool) -> SyncRequest {
    let report = NodeReport {
        at: UnixMs(1),
        agent_version: "test".into(),
        phase: AgentPhase::Idle,
        target: None,
        direction: Direction::Forward,
        phase_since: UnixMs(1),
        running: None,
        previous: None,
        process: ProcessState::Stopped,
        health: NodeHealth::default(),
        fault: None,
        last_stop: None,
        last_start: None,
    };
    SyncRequest { node: NodeName::new(node).unwrap(), generation, hold, report }
}
