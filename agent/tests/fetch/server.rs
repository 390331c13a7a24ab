//! An HTTP server that can do everything bad. It ends with the runtime of its test.
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

/// How a request is answered.
#[derive(Clone)]
pub enum Say {
    /// All of it, or the rest that was asked for; knows `If-Range`.
    File(Vec<u8>),
    /// As [`Say::File`], but breaks off after so many bytes of the body.
    Cut(Vec<u8>, usize),
    /// As [`Say::File`], without any validator.
    Unnamed(Vec<u8>),
    /// All of it, whatever was asked for.
    Whole(Vec<u8>),
    /// A status, with a page.
    Status(u16),
    /// A redirect.
    Redirect(String),
    /// A body without end.
    Endless,
    /// These bytes, head and all, then the end of the connection.
    Raw(String),
    /// Nothing, with the connection open.
    Silence,
}

/// One request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
}

#[derive(Default)]
struct State {
    answers: BTreeMap<String, VecDeque<Say>>,
    asked: Vec<Asked>,
}

#[derive(Clone)]
pub struct Server {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub async fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server { port: listener.local_addr().unwrap().port(), state: Arc::default() };
        let own = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(own.clone().answer(stream));
            }
        });
        server
    }

    pub async fn start_tls(config: tokio_rustls::rustls::ServerConfig) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server { port: listener.local_addr().unwrap().port(), state: Arc::default() };
        let (own, acceptor) = (server.clone(), tokio_rustls::TlsAcceptor::from(Arc::new(config)));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (own, acceptor) = (own.clone(), acceptor.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        own.answer(stream).await;
                    }
                });
            }
        });
        server
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// One answer after the other; the last one stays.
    pub fn on(&self, path: &str, answers: impl IntoIterator<Item = Say>) {
        self.state.lock().unwrap().answers.insert(path.to_owned(), answers.into_iter().collect());
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.state.lock().unwrap().asked.clone()
    }

    /// How often a path was asked for.
    pub fn count(&self, path: &str) -> usize {
        self.asked().iter().filter(|a| a.path == path).count()
    }

    fn next(&self, asked: &Asked) -> Say {
        let mut state = self.state.lock().unwrap();
        state.asked.push(asked.clone());
        let path = asked.path.split('?').next().unwrap().to_owned();
        let Some(answers) = state.answers.get_mut(&path) else { return Say::Status(404) };
        let last = answers.len() == 1;
        if last { answers[0].clone() } else { answers.pop_front().unwrap() }
    }

    async fn answer(self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        while let Some(asked) = read_head(&mut stream).await {
            let say = self.next(&asked);
            let close = matches!(say, Say::Cut(..) | Say::Endless | Say::Raw(_));
            if say.write(&asked, &mut stream).await.is_err() || close {
                let _ = stream.shutdown().await;
                return;
            }
        }
    }
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Option<Asked> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let text = String::from_utf8(head).ok()?;
    let mut lines = text.lines();
    let mut first = lines.next()?.split(' ').map(str::to_owned);
    let (method, path) = (first.next()?, first.next()?);
    let headers = lines.filter_map(|l| l.split_once(": "));
    let headers = headers.map(|(k, v)| (k.to_lowercase(), v.to_owned())).collect();
    Some(Asked { method, path, headers })
}

fn tag(bytes: &[u8]) -> String {
    format!("\"{}\"", common::release::Digest::of(bytes).short())
}

impl Say {
    async fn write(self, asked: &Asked, to: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
        let (head, body) = match self {
            Say::File(bytes) => file(asked, bytes, true),
            Say::Unnamed(bytes) => file(asked, bytes, false),
            Say::Cut(bytes, most) => {
                let (head, mut body) = file(asked, bytes, true);
                body.truncate(most);
                (head, body)
            }
            Say::Whole(bytes) => (format!("200 OK\r\ncontent-length: {}", bytes.len()), bytes),
            Say::Status(status) => (format!("{status} X\r\ncontent-length: 4"), b"<h1>".to_vec()),
            Say::Redirect(to) => (format!("302 Found\r\nlocation: {to}\r\ncontent-length: 0"), Vec::new()),
            Say::Raw(text) => return to.write_all(text.as_bytes()).await,
            Say::Silence => std::future::pending().await,
            Say::Endless => {
                to.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
                loop {
                    to.write_all(&[b'#'; 4096]).await?;
                }
            }
        };
        let body = if asked.method == "HEAD" { Vec::new() } else { body };
        to.write_all(format!("HTTP/1.1 {head}\r\n\r\n").as_bytes()).await?;
        to.write_all(&body).await
    }
}

fn file(asked: &Asked, bytes: Vec<u8>, named: bool) -> (String, Vec<u8>) {
    let (tag, all) = (tag(&bytes), bytes.len());
    let same = asked.headers.get("if-range").is_none_or(|t| *t == tag);
    let from = asked.headers.get("range").filter(|_| same);
    let from = from.map(|r| r.trim_start_matches("bytes=").trim_end_matches('-').parse::<usize>().unwrap());
    let tag = if named { format!("\r\netag: {tag}") } else { String::new() };
    match from {
        Some(from) if from >= all => (format!("416 X\r\ncontent-length: 0{tag}"), Vec::new()),
        Some(from) => {
            let (last, rest) = (all - 1, all - from);
            let range = format!("content-range: bytes {from}-{last}/{all}\r\ncontent-length: {rest}");
            (format!("206 X\r\n{range}{tag}"), bytes[from..].to_vec())
        }
        None => (format!("200 OK\r\ncontent-length: {all}{tag}"), bytes),
    }
}
