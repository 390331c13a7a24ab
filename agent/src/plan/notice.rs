//! Told by the kernel (inotify) when something happens to the files of plans, so that a host at rest need not look.
use super::list::fixed_files;
use crate::config::Settings;
use crate::home::Home;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use tokio::net::unix::pipe::Receiver;

/// Room for what is read at once, in bytes: one event with the longest name takes 272.
const ROOM: usize = 2048;

/// How it stands with one folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The kernel tells, by this number.
    Watched(i32),
    /// There is no such folder.
    Absent,
    /// The kernel does not tell, for want of room for one more, or of the right to read the folder.
    Refused,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// What in it is of interest; empty is everything.
    names: Vec<PathBuf>,
    /// Whether a folder that tells of this one's making is watched as well.
    made_is_told: bool,
    state: State,
}

/// The kernel's word on the folders that plans are in.
#[derive(Debug)]
pub struct Notice {
    /// Bytes of the kernel's, as from a pipe.
    kernel: Receiver,
    folders: Vec<Folder>,
    /// Files that are known by other names too: what happens to them under those is not told.
    files: [PathBuf; 3],
    whole: bool,
}

impl Notice {
    /// Begins to listen for the places that these settings name. To be called on a runtime.
    ///
    /// # Errors
    /// When the kernel has no room for one more listener: plans are then looked at again and again.
    pub fn new(home: &Home, settings: &Settings) -> io::Result<Notice> {
        let kernel = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let kernel = Receiver::from_owned_fd_unchecked(kernel)?;
        let files = fixed_files(home, settings);
        let mut folders: Vec<Folder> = Vec::new();
        for path in files.iter().cloned().chain([home.plans(), home.upgrades()]) {
            let Some(parent) = path.parent() else { continue };
            match folders.iter_mut().find(|f| f.path == parent) {
                Some(folder) => folder.names.push(path),
                None => folders.push(Folder::new(parent.to_owned(), vec![path], false)),
            }
        }
        folders.extend([home.plans(), home.upgrades()].map(|path| Folder::new(path, Vec::new(), true)));
        let mut notice = Notice { kernel, folders, files, whole: false };
        notice.arm();
        Ok(notice)
    }

    /// Whether the kernel tells of everything that this host itself does to the files.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// Listens to folders that were made since. To be called before the files are read.
    pub fn arm(&mut self) {
        for folder in self.folders.iter_mut().filter(|f| !matches!(f.state, State::Watched(_))) {
            folder.state = watch(&self.kernel, &folder.path);
        }
        let told = |f: &Folder| match f.state {
            State::Watched(_) => true,
            State::Absent => f.made_is_told,
            State::Refused => false,
        };
        let plain = |path: &PathBuf| !std::fs::symlink_metadata(path).is_ok_and(|m| m.is_symlink());
        self.whole = self.folders.iter().all(told) && self.files.iter().all(plain);
    }

    /// Waits until something happened to a file of plans. Nothing is lost when this is dropped while it waits.
    pub async fn touched(&mut self) {
        loop {
            if self.kernel.readable().await.is_err() {
                return std::future::pending().await;
            }
            if read(&self.kernel, &mut self.folders) {
                return;
            }
        }
    }
}

impl Folder {
    fn new(path: PathBuf, names: Vec<PathBuf>, made_is_told: bool) -> Folder {
        Folder { path, names, made_is_told, state: State::Absent }
    }

    fn concerns(&self, name: Option<&OsStr>) -> bool {
        let Some(name) = name else { return true };
        self.names.is_empty() || self.names.iter().any(|n| n.file_name() == Some(name))
    }
}

fn watch(kernel: &Receiver, path: &Path) -> State {
    // Not every write: one who holds a file open for long is seen at the next look, and a node that writes into one
    // of these folders all the time does not wake the agent each time.
    let what = WatchFlags::CLOSE_WRITE
        | WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::MOVE
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF
        | WatchFlags::ONLYDIR;
    match inotify::add_watch(kernel, path, what) {
        Ok(number) => State::Watched(number),
        Err(Errno::NOENT) => State::Absent,
        Err(_) => State::Refused,
    }
}

/// What the kernel says of one of its numbers; a name is that of something in the folder.
struct Event<'a> {
    number: i32,
    what: ReadFlags,
    name: Option<&'a OsStr>,
}

impl Event<'_> {
    /// Takes the first event off what was read: four numbers of four bytes, the last of which is the length of the
    /// name that follows, filled up with zeros (`inotify(7)`).
    fn take<'a>(bytes: &mut &'a [u8]) -> Option<Event<'a>> {
        let (head, rest) = bytes.split_first_chunk::<16>()?;
        let number = |at: usize| head[at..].first_chunk().map_or(0, |four| u32::from_ne_bytes(*four));
        let (name, rest) = rest.split_at_checked(usize::try_from(number(12)).ok()?)?;
        *bytes = rest;
        let name = name.split(|byte| *byte == 0).next().filter(|n| !n.is_empty());
        Some(Event {
            number: number(0).cast_signed(),
            what: ReadFlags::from_bits_retain(number(4)),
            name: name.map(OsStr::from_bytes),
        })
    }
}

/// Reads everything there is to be read; whether some of it concerns plans.
fn read(kernel: &Receiver, folders: &mut [Folder]) -> bool {
    let mut room = [0; ROOM];
    let mut touched = false;
    loop {
        let mut bytes = match kernel.try_read(&mut room) {
            Ok(n) if n > 0 => &room[..n],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            _ => return touched,
        };
        while let Some(Event { number, what, name }) = Event::take(&mut bytes) {
            let state = State::Watched(number);
            touched |= what.contains(ReadFlags::QUEUE_OVERFLOW);
            touched |= folders.iter().any(|f| f.state == state && f.concerns(name));
            if what.contains(ReadFlags::MOVE_SELF) {
                // It goes on telling of a folder that has another name now.
                let _ = inotify::remove_watch(kernel, number);
            }
            if what.intersects(ReadFlags::MOVE_SELF | ReadFlags::IGNORED) {
                let gone = folders.iter_mut().filter(|f| f.state == state);
                gone.for_each(|f| f.state = State::Absent);
            }
        }
    }
}

#[cfg(test)]
mod tests;
