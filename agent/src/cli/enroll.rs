//! `wemixvisor enroll`: the key is made here and stays here.
use crate::home::Home;
use crate::sync::coordinator::check_address;
use crate::sync::files::{FleetFiles, Membership};
use crate::sync::tls;
use anyhow::{Context, bail, ensure};
use clap::Args;
use common::id::NodeName;
use common::manifest::TrustRoot;
use common::release::Digest;
use common::wire::problem::Problem;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use serde::Deserialize;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// How long one request may take.
const WITHIN: Duration = Duration::from_secs(30);

/// Joins a fleet: by a one-time token, or in the two steps an installer takes over SSH.
#[derive(Debug, Args)]
pub struct Enroll {
    /// The coordinator, https://host:port
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// This node's name in the fleet
    #[arg(long, value_name = "NAME")]
    node: Option<NodeName>,
    /// One-time token from `wemixfleet node token`
    #[arg(long, env = "WEMIXVISOR_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// SHA-256 of the fleet's CA certificate, shown with the token
    #[arg(long, value_name = "SHA256")]
    ca_hash: Option<Digest>,
    /// Only make the key and print the certificate signing request
    #[arg(long, conflicts_with_all = ["token", "install_certificate"])]
    csr_only: bool,
    /// Finish with this certificate chain (PEM)
    #[arg(long, value_name = "FILE", requires = "ca", conflicts_with = "token")]
    install_certificate: Option<PathBuf>,
    /// The fleet's CA certificate (PEM)
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The maintainers to trust: JSON with `threshold` and `keys`
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Enrolled {
    certificate: String,
    ca: String,
    #[serde(default)]
    trust: Option<TrustRoot>,
}

impl Enroll {
    /// Does the step that the flags ask for. Doing it again is safe: the key is kept.
    pub async fn run(&self, home: &Home) -> anyhow::Result<ExitCode> {
        let files = FleetFiles::new(home.fleet());
        if self.csr_only {
            print!("{}", request(&files, self.node()?)?);
            return Ok(ExitCode::SUCCESS);
        }
        let url = self.url.clone().context("--url is missing")?;
        let secure = check_address(&url)?;
        if let Some(path) = &self.install_certificate {
            return self.install(&files, path, url);
        }
        let token = self.token.as_deref().context("--token is missing")?;
        let wanted = self.ca_hash.context("--ca-hash is missing")?;
        ensure!(secure, "a token is said over https only");
        let ca = fetch_ca(&url, &wanted).await?;
        let csr = request(&files, self.node()?)?;
        let enrolled = post(&url, &ca, &json!({"node": self.node()?, "token": token, "csr": csr})).await?;
        ensure!(
            tls::hash(&enrolled.ca)? == wanted,
            "the coordinator answered with another CA than announced"
        );
        let membership = Membership { url, node: self.node()?.clone(), trust: self.trust(enrolled.trust)? };
        finish(&files, &enrolled.certificate, &enrolled.ca, membership)
    }

    fn node(&self) -> anyhow::Result<&NodeName> {
        self.node.as_ref().context("--node is missing")
    }

    fn trust(&self, answered: Option<TrustRoot>) -> anyhow::Result<Option<TrustRoot>> {
        let Some(path) = &self.trust else { return Ok(answered) };
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let trust: TrustRoot =
            serde_json::from_slice(&bytes).with_context(|| format!("reading {}", path.display()))?;
        trust.validate()?;
        Ok(Some(trust))
    }

    fn install(&self, files: &FleetFiles, path: &PathBuf, url: String) -> anyhow::Result<ExitCode> {
        let read =
            |p: &PathBuf| std::fs::read_to_string(p).with_context(|| format!("reading {}", p.display()));
        let ca = self.ca.as_ref().context("--ca is missing")?;
        let membership = Membership { url, node: self.node()?.clone(), trust: self.trust(None)? };
        finish(files, &read(path)?, &read(ca)?, membership)
    }
}

/// The signing request for the key of this host; the key is made when there is none.
fn request(files: &FleetFiles, node: &NodeName) -> anyhow::Result<String> {
    let key = match std::fs::read_to_string(files.key()) {
        Ok(pem) => KeyPair::from_pem(&pem).with_context(|| format!("reading {}", files.key().display()))?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let key = KeyPair::generate().context("making a key")?;
            files.write_key(&key.serialize_pem())?;
            key
        }
        Err(e) => bail!("{}: {e}", files.key().display()),
    };
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, node.as_str());
    Ok(params.serialize_request(&key)?.pem()?)
}

fn finish(
    files: &FleetFiles,
    certificate: &str,
    ca: &str,
    membership: Membership,
) -> anyhow::Result<ExitCode> {
    tls::check_pair(files, certificate).context("the certificate is not for the key of this host")?;
    tls::pinned(ca)?;
    files.write_ca(ca)?;
    files.write_certificate(certificate)?;
    let (url, node) = (membership.url.clone(), membership.node.clone());
    files.write_membership(membership)?;
    println!("{node} belongs to the fleet at {url}");
    Ok(ExitCode::SUCCESS)
}

/// Fetches the CA from a server nobody vouches for yet; only its hash makes it believed.
async fn fetch_ca(url: &str, wanted: &Digest) -> anyhow::Result<String> {
    let client = client(tls::unverified()?)?;
    let url = format!("{}/v1/ca", url.trim_end_matches('/'));
    let answer = client.get(&url).send().await.with_context(|| format!("fetching {url}"))?;
    let ca = answer.error_for_status()?.text().await.with_context(|| format!("fetching {url}"))?;
    let found = tls::hash(&ca)?;
    ensure!(
        found == *wanted,
        "the CA at {url} has SHA-256 {found}, {wanted} was told; nothing was sent to it"
    );
    Ok(ca)
}

async fn post(url: &str, ca: &str, body: &serde_json::Value) -> anyhow::Result<Enrolled> {
    let url = format!("{}/v1/enroll", url.trim_end_matches('/'));
    let answer = client(tls::pinned(ca)?)?
        .post(&url)
        .json(body)
        .send()
        .await
        .with_context(|| format!("posting to {url}"))?;
    let status = answer.status();
    let bytes = answer.bytes().await?;
    if !status.is_success() {
        let detail = serde_json::from_slice::<Problem>(&bytes).map(|p| p.detail).unwrap_or_default();
        bail!("the coordinator answered {status}: {detail}");
    }
    serde_json::from_slice(&bytes).context("the coordinator's answer cannot be read")
}

fn client(tls: rustls::ClientConfig) -> anyhow::Result<reqwest::Client> {
    Ok(reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(WITHIN)
        .use_preconfigured_tls(tls)
        .build()?)
}
