//! Plain HTTP to the node, on one connection.
use super::rpc::{MAX_ANSWER, too_long};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::fmt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Most that is kept of an answer that was not read yet, in bytes; the rest waits in the socket.
const READ_BUFFER: usize = 64 << 10;

/// A connection, and the task that moves its bytes.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
}

impl Connection {
    async fn open(host: &str, port: u16) -> Result<Connection, String> {
        let stream = TcpStream::connect((host, port)).await.map_err(|e| e.to_string())?;
        let _ = stream.set_nodelay(true);
        let mut builder = http1::Builder::new();
        builder.max_buf_size(READ_BUFFER);
        let (sender, moving) = builder.handshake(TokioIo::new(stream)).await.map_err(|e| said(&e))?;
        // Whoever waits for an answer is told by the sender when this fails.
        let task = tokio::spawn(async move { drop(moving.await) });
        Ok(Connection { sender, task })
    }

    fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One HTTP address and the connection to it, while there is one.
pub(super) struct Http {
    host: String,
    port: u16,
    /// What the request line says: path and query.
    target: String,
    /// What the `host` header says.
    authority: HeaderValue,
    open: Option<Connection>,
}

impl Http {
    /// The address; `None` when it names no host.
    pub(super) fn new(url: &reqwest::Url) -> Option<Http> {
        let host = url.host_str()?;
        let port = url.port_or_known_default()?;
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let authority = HeaderValue::try_from(authority).ok()?;
        let host = host.trim_matches(['[', ']']).to_owned();
        Some(Http { host, port, target, authority, open: None })
    }

    /// Posts a question and reads the whole answer.
    pub(super) async fn ask(&mut self, question: Vec<u8>) -> Result<Vec<u8>, String> {
        let question = Bytes::from(question);
        // The node may have closed a kept connection the moment it was used; a fresh one tells.
        if let Some(mut kept) = self.open.take().filter(Connection::is_open)
            && let Ok(answer) = self.exchange(&mut kept, question.clone()).await
        {
            self.open = Some(kept);
            return Ok(answer);
        }
        let mut fresh = Connection::open(&self.host, self.port).await?;
        let answer = self.exchange(&mut fresh, question).await?;
        self.open = Some(fresh);
        Ok(answer)
    }

    async fn exchange(&self, connection: &mut Connection, question: Bytes) -> Result<Vec<u8>, String> {
        let request = Request::post(&self.target)
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(question))
            .map_err(|e| e.to_string())?;
        let answer = connection.sender.send_request(request).await.map_err(|e| said(&e))?;
        let status = answer.status();
        let mut body = answer.into_body();
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| said(&e))?;
            bytes.extend_from_slice(frame.data_ref().map_or(&[], |d| &d[..]));
            if bytes.len() > MAX_ANSWER {
                return Err(too_long());
            }
        }
        if status.is_success() { Ok(bytes) } else { Err(format!("HTTP {status}")) }
    }

    /// Closes the connection.
    pub(super) fn hang_up(&mut self) {
        self.open = None;
    }
}

impl Clone for Http {
    fn clone(&self) -> Http {
        let (host, target, authority) = (self.host.clone(), self.target.clone(), self.authority.clone());
        Http { host, port: self.port, target, authority, open: None }
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}{}", self.host, self.port, self.target)
    }
}

/// The innermost cause, which is the one that says something.
fn said(error: &hyper::Error) -> String {
    crate::host::download::cause(error)
}
