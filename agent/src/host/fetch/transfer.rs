//! One file over HTTP into staging: tried again, continued where it broke, always checked as a whole.
use super::checksum::Checksum;
use super::client::Requests;
use super::error::{FetchError, disk_error};
use super::source::shown;
use crate::config::DownloadSettings;
use crate::host::disk;
use crate::host::download::cause;
use crate::host::files::Temporary;
use rand::RngExt as _;
use reqwest::header::{CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, LAST_MODIFIED, RANGE};
use reqwest::{Method, Response, Url};
use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Kept free on the disk beside what is fetched.
pub(crate) const SPARE_BYTES: u64 = 64 << 20;
/// Upper bound of the first pause between two tries; it doubles.
const BACK_OFF_FIRST: Duration = Duration::from_millis(250);
/// Upper bound of the longest pause.
const BACK_OFF_MOST: Duration = Duration::from_secs(30);

/// How far a transfer is: bytes that are here, and all of them when that is known.
pub(crate) type Progress<'a> = &'a (dyn Fn(u64, Option<u64>) + Send + Sync);

/// A file that is to be fetched.
pub(crate) struct Wanted<'a> {
    /// Where it is.
    pub url: &'a Url,
    /// What it must hash to.
    pub checksum: &'a Checksum,
    /// Its size in bytes, when a manifest says it.
    pub size: Option<u64>,
}

/// Fetches files until `end`.
pub(crate) struct Fetcher<'a> {
    pub requests: Requests<'a>,
    most: u64,
    end: Instant,
    last: Arc<Mutex<Option<FetchError>>>,
}

impl<'a> Fetcher<'a> {
    pub(crate) fn new(settings: &'a DownloadSettings, end: Instant) -> Fetcher<'a> {
        Fetcher { requests: Requests::new(settings), most: settings.max_bytes, end, last: Arc::default() }
    }

    /// Keeps the failure that was tried again last, for whoever sees the end of the time.
    pub(crate) fn remember(mut self, last: &Arc<Mutex<Option<FetchError>>>) -> Fetcher<'a> {
        self.last = Arc::clone(last);
        self
    }

    /// Something short, in memory.
    pub(crate) async fn small(&mut self, url: &Url, most: usize) -> Result<Vec<u8>, FetchError> {
        let mut pause = BACK_OFF_FIRST;
        loop {
            match self.small_once(url, most).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => self.again(error, &mut pause).await?,
            }
        }
    }

    async fn small_once(&mut self, url: &Url, most: usize) -> Result<Vec<u8>, FetchError> {
        let mut answer = self.requests.send(Method::GET, url, &HeaderMap::new()).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk(&mut answer, url, bytes.len() as u64).await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > most {
                return Err(FetchError::TooLarge { url: shown(url), most: most as u64 });
            }
        }
        if bytes.is_empty() { Err(FetchError::Empty(shown(url))) } else { Ok(bytes) }
    }

    /// A verified file in `staging`. What an earlier agent left of it there is continued.
    pub(crate) async fn file(
        &mut self,
        wanted: &Wanted<'_>,
        staging: &Path,
        progress: Progress<'_>,
    ) -> Result<Staged, FetchError> {
        std::fs::create_dir_all(staging).map_err(disk_error(staging))?;
        let path = staging.join(format!("{}.part", wanted.checksum.to_string().replace(':', "-")));
        let mut pause = BACK_OFF_FIRST;
        let staged = loop {
            match Staged::open(&path) {
                Ok(staged) => break staged,
                Err(error) => self.again(error, &mut pause).await?,
            }
        };
        if staged.length()? > 0 && check(wanted, &path).await.is_ok() {
            return Ok(staged);
        }
        let mut part = Part { staged: &staged, validator: None, blind: staged.length()? > 0 };
        let mut pause = BACK_OFF_FIRST;
        loop {
            let before = staged.length()?;
            let error = match self.once(wanted, &mut part, progress).await {
                Ok(()) => match check(wanted, &path).await {
                    // The part may have been of another version of the file: once more, all of it.
                    Err(FetchError::Checksum { .. }) if part.blind => {
                        part.restart()?;
                        continue;
                    }
                    checked => return checked.map(|()| staged),
                },
                Err(error) => error,
            };
            if staged.length()? > before {
                pause = BACK_OFF_FIRST;
            }
            self.again(error, &mut pause).await?;
        }
    }

    /// One request, from where the part ends.
    async fn once(
        &mut self,
        wanted: &Wanted<'_>,
        part: &mut Part<'_>,
        progress: Progress<'_>,
    ) -> Result<(), FetchError> {
        let url = wanted.url;
        let mut done = part.staged.length()?;
        let mut answer = self.requests.send(Method::GET, url, &part.headers(done)).await?;
        if answer.status().as_u16() == 206 && range_start(&answer) == Some(done) {
            part.blind |= part.validator.is_none();
        } else if answer.status().as_u16() == 200 {
            part.restart()?;
            part.validator = validator(answer.headers());
            done = 0;
        } else {
            // 416, or another part than the one that was asked for.
            let why = format!("the server answered {} to a request for the rest", answer.status());
            part.restart()?;
            return Err(FetchError::Transport { url: shown(url), done: 0, why });
        }
        let total = answer.content_length().map(|rest| rest.saturating_add(done));
        self.judge_length(wanted, &part.staged.path, done, total)?;
        progress(done, total);
        while let Some(chunk) = self.chunk(&mut answer, url, done).await? {
            done += chunk.len() as u64;
            if wanted.size.is_some_and(|size| done > size) || done > self.most {
                return Err(self.too_long(wanted, done));
            }
            (&part.staged.file).write_all(&chunk).map_err(disk_error(&part.staged.path))?;
            progress(done, total);
        }
        if done == 0 { Err(FetchError::Empty(shown(url))) } else { Ok(()) }
    }

    fn judge_length(
        &self,
        wanted: &Wanted<'_>,
        path: &Path,
        done: u64,
        total: Option<u64>,
    ) -> Result<(), FetchError> {
        let Some(total) = total.or(wanted.size) else { return Ok(()) };
        if total > self.most || wanted.size.is_some_and(|size| size != total) {
            return Err(self.too_long(wanted, total));
        }
        let folder = path.parent().unwrap_or(Path::new("/"));
        enough_space(folder, total - done.min(total))
    }

    fn too_long(&self, wanted: &Wanted<'_>, found: u64) -> FetchError {
        let url = shown(wanted.url);
        match wanted.size {
            Some(size) if size <= self.most => FetchError::Length { url, wanted: size, found },
            _ => FetchError::TooLarge { url, most: self.most },
        }
    }

    async fn chunk(
        &mut self,
        answer: &mut Response,
        url: &Url,
        done: u64,
    ) -> Result<Option<bytes::Bytes>, FetchError> {
        let why = match timeout(self.requests.silence, answer.chunk()).await {
            Ok(Ok(chunk)) => return Ok(chunk),
            Ok(Err(error)) => cause(&error),
            Err(_) => format!("nothing arrived for {:?}", self.requests.silence),
        };
        self.requests.forget();
        Err(FetchError::Transport { url: shown(url), done, why })
    }

    /// Waits before another try, with full jitter; gives the error back when there is none.
    async fn again(&self, error: FetchError, pause: &mut Duration) -> Result<(), FetchError> {
        let wait = pause.mul_f64(rand::rng().random_range(0.0..1.0));
        if !error.passing() || Instant::now() + wait >= self.end {
            return Err(error);
        }
        tracing::warn!("{error}; trying again");
        if let Ok(mut last) = self.last.lock() {
            *last = Some(error);
        }
        sleep(wait).await;
        *pause = (*pause * 2).min(BACK_OFF_MOST);
        Ok(())
    }
}

/// A file in staging that no other process writes to. It is removed again unless it was renamed.
pub(crate) struct Staged {
    file: File,
    /// Where it is.
    pub path: PathBuf,
    _guard: Temporary,
}

impl Staged {
    fn open(path: &Path) -> Result<Staged, FetchError> {
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).mode(0o600).open(path).map_err(disk_error(path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FetchError::Busy(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(disk_error(path)(source)),
        }
        // Whoever had the lock may have given the file its final name meanwhile: that is no part any more.
        let id = |m: Metadata| (m.dev(), m.ino());
        let own = file.metadata().map(id).map_err(disk_error(path))?;
        if std::fs::symlink_metadata(path).map(id).ok() != Some(own) {
            return Err(FetchError::Busy(path.to_owned()));
        }
        Ok(Staged { file, path: path.to_owned(), _guard: Temporary::new(path.to_owned()) })
    }

    /// In bytes.
    fn length(&self) -> Result<u64, FetchError> {
        Ok(self.file.metadata().map_err(disk_error(&self.path))?.len())
    }
}

/// The part of a file that is here.
struct Part<'a> {
    staged: &'a Staged,
    /// Names the version of the file that the part is of.
    validator: Option<HeaderValue>,
    /// Whether bytes were joined without knowing that they are of one version.
    blind: bool,
}

impl Part<'_> {
    fn restart(&mut self) -> Result<(), FetchError> {
        (self.validator, self.blind) = (None, false);
        self.staged.file.set_len(0).map_err(disk_error(&self.staged.path))
    }

    fn headers(&self, done: u64) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let range = HeaderValue::from_str(&format!("bytes={done}-")).ok();
        if let Some(range) = range.filter(|_| done > 0) {
            headers.insert(RANGE, range);
            if let Some(validator) = &self.validator {
                headers.insert(IF_RANGE, validator.clone());
            }
        }
        headers
    }
}

/// A strong entity tag, else the time of the last change.
fn validator(headers: &HeaderMap) -> Option<HeaderValue> {
    let strong = headers.get(ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/"));
    strong.or_else(|| headers.get(LAST_MODIFIED)).cloned()
}

fn range_start(answer: &Response) -> Option<u64> {
    let text = answer.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    text.trim().strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}

async fn check(wanted: &Wanted<'_>, path: &Path) -> Result<(), FetchError> {
    let (algorithm, hashed) = (wanted.checksum.algorithm, path.to_owned());
    let found = tokio::task::spawn_blocking(move || algorithm.of_file(&hashed)).await;
    let found = found.map_err(std::io::Error::other).and_then(|r| r).map_err(disk_error(path))?;
    if found == *wanted.checksum {
        return Ok(());
    }
    Err(FetchError::Checksum { url: shown(wanted.url), wanted: wanted.checksum.clone(), found })
}

/// Whether so many bytes and a spare fit where `folder` is.
pub(crate) fn enough_space(folder: &Path, bytes: u64) -> Result<(), FetchError> {
    let need = bytes.saturating_add(SPARE_BYTES);
    match disk::free_bytes(folder).filter(|free| *free < need) {
        Some(free) => Err(FetchError::Space { path: folder.to_owned(), free, need }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// What comes of a server that says this and then nothing, with the connection open.
    async fn after(said: &'static str) -> FetchError {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/geth", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_u8().await.unwrap();
            stream.write_all(said.as_bytes()).await.unwrap();
            std::future::pending::<()>().await;
        });
        let mut settings = crate::config::Settings::of("/".into(), "geth".into()).download;
        settings.private = true;
        let mut fetcher = Fetcher::new(&settings, Instant::now());
        fetcher.requests.silence = Duration::from_millis(50);
        fetcher.small(&url, 100).await.unwrap_err()
    }

    #[tokio::test]
    async fn silence_is_a_passing_failure() {
        for (said, bytes) in [("", 0), ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nfour", 4)] {
            let error = after(said).await;
            assert!(error.passing(), "{error}");
            let FetchError::Transport { done, why, .. } = error else { panic!("{error}") };
            assert_eq!(done, bytes);
            assert!(why.contains("nothing arrived"), "{why}");
        }
    }
}
