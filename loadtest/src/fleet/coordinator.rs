//! The coordinator process and a client of its API.
use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A coordinator process. Dropping it kills it.
#[derive(Debug)]
pub struct Coordinator {
    program: PathBuf,
    /// Its folder.
    pub dir: PathBuf,
    /// `https://host:port`.
    pub url: String,
    /// Its CA, PEM.
    pub ca_pem: String,
    /// The first admin's token.
    pub token: String,
    client: reqwest::Client,
    child: Option<Child>,
}

impl Coordinator {
    /// Makes a coordinator from the text of a configuration that listens on `url`. Not started yet.
    ///
    /// # Errors
    /// When `wemixfleet init` refuses.
    pub fn init(program: &Path, dir: &Path, config: &str, url: &str) -> Result<Coordinator> {
        std::fs::create_dir_all(dir)?;
        let text = dir.with_extension("config.toml");
        std::fs::write(&text, config)?;
        let out = Command::new(program)
            .args(["init", "--print-token", "--config"])
            .arg(&text)
            .arg(dir)
            .stdin(Stdio::null())
            .output()
            .context("starting wemixfleet")?;
        ensure!(out.status.success(), "wemixfleet init: {}", String::from_utf8_lossy(&out.stderr));
        let said = String::from_utf8_lossy(&out.stdout);
        let is_token = |w: &&str| w.len() == 64 && w.bytes().all(|b| b.is_ascii_hexdigit());
        let token = said.split_whitespace().find(is_token).context("init printed no token")?.to_owned();
        let ca_pem = std::fs::read_to_string(dir.join("data/ca.crt"))?;
        let client = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(ca_pem.as_bytes())?])
            .timeout(Duration::from_secs(60))
            .build()?;
        let (program, dir, url) = (program.to_owned(), dir.to_owned(), url.to_owned());
        Ok(Coordinator { program, dir, url, ca_pem, token, client, child: None })
    }

    /// Starts `wemixfleet serve` and waits until it answers.
    ///
    /// # Errors
    /// When it does not answer within 20 s, with the end of its log.
    pub async fn start(&mut self) -> Result<()> {
        let log = std::fs::File::options().create(true).append(true).open(self.dir.join("serve.log"))?;
        let child = Command::new(&self.program)
            .arg("serve")
            .arg("--config")
            .arg(self.dir.join("wemixfleet.toml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.child = Some(child);
        let up = crate::devnet::wait_until("the coordinator answers", Duration::from_secs(20), || async {
            let answer = self.client.get(format!("{}/healthz", self.url)).send().await;
            answer.is_ok_and(|a| a.status().is_success()).then_some(())
        });
        up.await.with_context(|| self.log_tail())
    }

    /// Process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// SIGKILL.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _gone = child.kill();
            let _status = child.wait();
        }
    }

    /// Last lines of its log.
    pub fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.dir.join("serve.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(30).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// `GET` of a path.
    ///
    /// # Errors
    /// When it is not answered with 2xx, with the problem.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let request = self.client.get(format!("{}{path}", self.url)).bearer_auth(&self.token);
        Self::answer(path, request.send().await?).await
    }

    /// `POST` to a path.
    ///
    /// # Errors
    /// As [`Coordinator::get`].
    pub async fn post<B: Serialize, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T> {
        let request = self.client.post(format!("{}{path}", self.url)).bearer_auth(&self.token).json(body);
        Self::answer(path, request.send().await?).await
    }

    async fn answer<T: DeserializeOwned>(path: &str, answer: reqwest::Response) -> Result<T> {
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() {
            bail!("{path}: {status} {text}");
        }
        serde_json::from_str(&text).with_context(|| format!("{path} answered {text}"))
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.kill9();
    }
}
