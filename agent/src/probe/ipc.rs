//! The node's IPC socket: JSON values one after the other, with nothing said about where one ends.
use super::rpc::{MAX_ANSWER, too_long};
use rustix::fs::{Mode, OFlags};
use serde::Deserialize;
use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Longest path of a socket that the kernel takes, in bytes.
const MAX_PATH: usize = 107;
/// How much is read at once, in bytes.
const CHUNK: usize = 16 << 10;

/// One socket and the connection to it, while there is one.
pub(super) struct Ipc {
    path: PathBuf,
    open: Option<UnixStream>,
}

#[derive(Deserialize)]
struct Numbered {
    id: Option<u64>,
}

impl Ipc {
    /// The socket at an absolute path.
    pub(super) fn new(path: PathBuf) -> Ipc {
        Ipc { path, open: None }
    }

    /// Writes a question and reads up to the answer with its number.
    pub(super) async fn ask(&mut self, question: &[u8], id: u64) -> Result<Vec<u8>, String> {
        // A node that was restarted left the old connection dead.
        if let Some(mut kept) = self.open.take()
            && let Ok(answer) = exchange(&mut kept, question, id).await
        {
            self.open = Some(kept);
            return Ok(answer);
        }
        let place = |e: io::Error| format!("{}: {e}", self.path.display());
        let mut fresh = connect(&self.path).await.map_err(place)?;
        let answer = exchange(&mut fresh, question, id).await.map_err(place)?;
        self.open = Some(fresh);
        Ok(answer)
    }

    /// Closes the connection.
    pub(super) fn hang_up(&mut self) {
        self.open = None;
    }
}

impl Clone for Ipc {
    fn clone(&self) -> Ipc {
        Ipc::new(self.path.clone())
    }
}

impl fmt::Debug for Ipc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ipc:{}", self.path.display())
    }
}

/// Connects, also where the path is longer than a socket's address can hold: the folder is opened and the
/// socket is named from there.
async fn connect(path: &Path) -> io::Result<UnixStream> {
    if path.as_os_str().len() <= MAX_PATH {
        return UnixStream::connect(path).await;
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty())?;
    let near = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
    UnixStream::connect(near).await
}

async fn exchange(stream: &mut UnixStream, question: &[u8], id: u64) -> io::Result<Vec<u8>> {
    stream.write_all(question).await?;
    stream.write_all(b"\n").await?;
    let mut read = Vec::with_capacity(CHUNK);
    let mut end = End::default();
    let mut looked_at = 0;
    loop {
        if stream.read_buf(&mut read).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the node closed the connection"));
        }
        while let Some(length) = end.find(&read[looked_at..]) {
            let rest = read.split_off(looked_at + length);
            let value = std::mem::replace(&mut read, rest);
            looked_at = 0;
            end = End::default();
            // Notifications carry no number of ours.
            if serde_json::from_slice::<Numbered>(&value).is_ok_and(|n| n.id == Some(id)) {
                return Ok(value);
            }
        }
        looked_at = read.len();
        if read.len() > MAX_ANSWER {
            return Err(io::Error::new(io::ErrorKind::InvalidData, too_long()));
        }
        read.reserve(CHUNK);
    }
}

/// Finds where an object or a list ends in a stream, looking at each byte once.
#[derive(Debug, Default)]
struct End {
    depth: u32,
    in_text: bool,
    escaped: bool,
}

impl End {
    /// How many of these bytes belong to the value, when it ends in them.
    fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_text => self.escaped = true,
                b'"' => self.in_text = !self.in_text,
                _ if self.in_text => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(at + 1);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_end_where_their_brackets_do_however_they_are_cut() {
        let text = br#" {"a":[1,{"b":"}\"]"}],"c":"\\"} {"d":2}"#;
        let first = text.len() - br#" {"d":2}"#.len();
        for cut in 0..text.len() {
            let mut end = End::default();
            let (one, two) = text.split_at(cut);
            let found = end.find(one).or_else(|| end.find(two).map(|n| cut + n));
            assert_eq!(found, Some(first), "cut at {cut}");
        }
        assert_eq!(End::default().find(br#"{"open":"}"#), None);
    }
}
