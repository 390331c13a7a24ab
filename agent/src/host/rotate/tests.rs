use super::*;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

const HOWS: [How; 2] = [How::Collapse, How::Punch];

struct Log {
    _folder: tempfile::TempDir,
    path: PathBuf,
    file: File,
    written: Vec<u8>,
}

impl Log {
    fn new() -> Log {
        Log::below(&std::env::temp_dir())
    }

    fn below(folder: &Path) -> Log {
        let folder = tempfile::tempdir_in(folder).unwrap();
        let path = folder.path().join("node.log");
        let file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        Log { _folder: folder, path, file, written: Vec::new() }
    }

    fn lines(&mut self, count: usize) {
        for _ in 0..count {
            let line = format!("line {} of this log\n", self.written.len());
            self.bytes(line.as_bytes());
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.file.write_all(bytes).unwrap();
        self.written.extend_from_slice(bytes);
    }

    fn read(&self) -> Vec<u8> {
        let trail = Trail::new(self.path.clone());
        let (mut at, end) = trail.span().unwrap();
        let mut all = Vec::new();
        let mut buffer = vec![0; 10_000];
        while at < end {
            let (from, n) = trail.read(at, &mut buffer).unwrap();
            assert!(n > 0 && from == at, "{from} {at} {n} {end}");
            all.extend_from_slice(&buffer[..n]);
            at += n as u64;
        }
        all
    }

    fn numbers(&self) -> Vec<u32> {
        rotated(&self.path).into_iter().map(|(number, _)| number).collect()
    }

    fn used(&self) -> u64 {
        self.path.metadata().unwrap().blocks() * 512
    }
}

/// What a reader with no knowledge of ours would put together.
fn concatenated(path: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for (_, part) in rotated(path) {
        all.extend(std::fs::read(part).unwrap());
    }
    all.extend(std::fs::read(path).unwrap());
    all
}

#[test]
fn nothing_is_lost_or_repeated_while_a_process_writes() {
    // A memory file system cannot collapse.
    let memory = Path::new("/dev/shm");
    let places = [std::env::temp_dir(), memory.to_owned()];
    for (place, how) in places.iter().filter(|p| p.is_dir()).flat_map(|p| HOWS.map(|how| (p, how))) {
        let mut log = Log::below(place);
        let done = AtomicBool::new(false);
        let path = log.path.clone();
        let rotations = std::thread::scope(|threads| {
            let writer = threads.spawn(|| {
                for _ in 0..40 {
                    log.lines(1000);
                }
                done.store(true, Ordering::Release);
            });
            let mut rotations = 0;
            while !done.load(Ordering::Acquire) {
                rotations += u32::from(rotate(&path, 50_000, 1000, how).unwrap());
            }
            writer.join().unwrap();
            rotations + u32::from(rotate(&path, 50_000, 1000, how).unwrap())
        });
        assert!(rotations > 0, "{how:?}");
        assert!(log.read() == log.written, "{how:?}: the stream is another one");
        let mut plain = concatenated(&path);
        plain.retain(|b| *b != 0);
        assert!(plain == log.written, "{how:?}: the files together are not what was written");
        assert_eq!(log.numbers().len(), rotations as usize);
        assert!(log.used() < 400_000, "{how:?}: {} bytes are used", log.used());
    }
}

#[test]
fn only_what_is_due_is_rotated_and_only_so_many_are_kept() {
    for how in HOWS {
        let mut log = Log::new();
        assert!(!rotate(&log.path.with_file_name("nothing"), 1, 2, how).unwrap());
        log.lines(100);
        assert!(!rotate(&log.path, 0, 2, how).unwrap(), "0 is never");
        assert!(!rotate(&log.path, 1, 2, how).unwrap(), "less than three blocks");
        log.lines(2000);
        assert!(!rotate(&log.path, 1 << 20, 2, how).unwrap());
        for _ in 0..4 {
            log.lines(2000);
            assert!(rotate(&log.path, 10_000, 2, how).unwrap());
        }
        assert_eq!(log.numbers(), [2, 1]);
        let kept = log.read();
        assert!(log.written.ends_with(&kept) && kept.len() < log.written.len());
        log.lines(2000);
        assert!(rotate(&log.path, 10_000, 0, how).unwrap());
        assert_eq!(log.numbers(), [2, 1], "with none kept those that are there stay");
        assert!(log.used() < 20_000, "{}", log.used());
    }
}

/// Stops a rotation after so many of its steps, as a crash would. `None` where the file system cannot do it so.
fn crash(log: &Log, how: How, steps: u32) -> Option<Cut> {
    let file = OpenOptions::new().read(true).write(true).open(&log.path).unwrap();
    let mut record = Record::read(&log.path).unwrap();
    record.begin_with(&file).unwrap();
    let how = if record.start > 0 { How::Punch } else { how };
    let held = file.metadata().unwrap().len() - record.start;
    let bytes = (held / 4096 - 1) * 4096;
    let tail = head_digest(&file, record.start + bytes, held - bytes).unwrap();
    let cut = Cut { bytes, how, tail, tail_bytes: held - bytes, copied: true };
    copy(&file, &log.path, record.start, bytes).unwrap();
    record.cut = Some(cut.clone());
    if steps >= 1 {
        record.write(&log.path).unwrap();
    }
    if steps >= 2 {
        shift(&log.path, 100).unwrap();
    }
    if steps >= 3 {
        std::fs::rename(part(&log.path), numbered(&log.path, 1)).unwrap();
    }
    if steps >= 4 {
        let flags = match how {
            How::Collapse => FallocateFlags::COLLAPSE_RANGE,
            How::Punch => FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        };
        match fallocate(&file, flags, 0, record.start + bytes) {
            Err(Errno::OPNOTSUPP) => return None,
            result => result.unwrap(),
        }
    }
    Some(cut)
}

#[test]
fn a_crash_at_any_step_loses_and_repeats_nothing() {
    for how in HOWS {
        for steps in 0..=4 {
            let mut log = Log::new();
            log.lines(2000);
            assert!(rotate(&log.path, 10_000, 100, how).unwrap());
            log.lines(2000);
            if crash(&log, how, steps).is_none() {
                continue;
            }
            // The node goes on meanwhile, past the size it had.
            log.lines(4000);
            assert!(log.read() == log.written, "{how:?} {steps}: as it was left");
            assert!(rotate(&log.path, 10_000, 100, how).unwrap());
            assert!(log.read() == log.written, "{how:?} {steps}: after it was finished");
            assert!(!part(&log.path).exists() && Record::read(&log.path).unwrap().cut.is_none());
        }
    }
}

#[test]
fn where_a_crash_cannot_be_told_apart_nothing_is_lost() {
    for steps in [3, 4] {
        let mut log = Log::new();
        log.bytes(&b"the same line again and again ..\n"[1..].repeat(2048));
        let Some(cut) = crash(&log, How::Collapse, steps) else { continue };
        log.bytes(&b"the same line again and again ..\n"[1..].repeat(2048));
        rotate(&log.path, 1 << 30, 100, How::Collapse).unwrap();
        let read = log.read().len() as u64;
        let written = log.written.len() as u64;
        assert!(read == written || read == written + cut.bytes, "{steps}: {read} of {written}");
    }
}

#[test]
fn another_file_of_the_same_name_begins_anew() {
    for how in HOWS {
        let mut log = Log::new();
        log.lines(2000);
        assert!(rotate(&log.path, 10_000, 3, how).unwrap());
        let kept = log.read().len();
        let end = Trail::new(log.path.clone()).span().unwrap().1;
        assert_eq!(end, kept as u64);
        std::fs::remove_file(&log.path).unwrap();
        std::fs::write(&log.path, "fresh\n").unwrap();
        assert!(log.read().ends_with(b"log\nfresh\n") || log.read().ends_with(b"fresh\n"));
        // And one that was emptied in place.
        OpenOptions::new().write(true).truncate(true).open(&log.path).unwrap().write_all(b"again\n").unwrap();
        assert!(log.read().ends_with(b"again\n") && !log.read().contains(&0));
    }
}

#[test]
fn a_copy_that_cannot_be_made_leaves_the_log_as_it_is() {
    let mut log = Log::new();
    log.lines(2000);
    std::fs::create_dir(part(&log.path)).unwrap();
    let error = rotate_if_due(&log.path, 10_000, 3).unwrap_err();
    assert!(error.to_string().contains("node.log"), "{error}");
    assert!(log.read() == log.written && log.numbers().is_empty());
    std::fs::remove_dir(part(&log.path)).unwrap();
    assert!(rotate_if_due(&log.path, 10_000, 3).unwrap());
    assert!(log.read() == log.written);
}

#[test]
fn positions_stay_when_bytes_move() {
    for how in HOWS {
        let mut log = Log::new();
        log.lines(2000);
        let trail = Trail::new(log.path.clone());
        let mut buffer = [0; 64];
        assert_eq!(trail.read(5000, &mut buffer).unwrap(), (5000, 64));
        for _ in 0..3 {
            log.lines(1000);
            assert!(rotate(&log.path, 10_000, 100, how).unwrap());
        }
        let mut again = [0; 64];
        assert_eq!(trail.read(5000, &mut again).unwrap(), (5000, 64));
        assert_eq!((buffer, &buffer[..]), (again, &log.written[5000..5064]));
        log.lines(5000);
        assert!(rotate(&log.path, 10_000, 1, how).unwrap());
        let (from, n) = trail.read(5000, &mut again).unwrap();
        assert!(from > 5000 && n == 64, "what is gone is skipped");
        let from = usize::try_from(from).unwrap();
        assert_eq!(&again[..], &log.written[from..from + 64]);
    }
}
