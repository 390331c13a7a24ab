//! The chain as one node has it: its seal records, in memory and in its own data folder.
use super::record::SealRecord;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

/// Records from height 1 on.
#[derive(Debug)]
pub struct Ledger {
    records: Vec<Arc<SealRecord>>,
    file: File,
}

impl Ledger {
    /// Opens the file, dropping an incomplete end that a killed process left.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn open(path: &Path) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(e),
        };
        let mut records: Vec<Arc<SealRecord>> = Vec::new();
        let mut good = 0;
        for line in text.split_inclusive(|b| *b == b'\n') {
            match serde_json::from_slice::<SealRecord>(line) {
                Ok(r) if line.ends_with(b"\n") && r.height() == records.len() as u64 + 1 => {
                    records.push(Arc::new(r));
                    good += line.len() as u64;
                }
                _ => break,
            }
        }
        let file = File::options().create(true).append(true).open(path)?;
        file.set_len(good)?;
        Ok(Self { records, file })
    }

    /// Height of the head; 0 is the genesis.
    pub fn head(&self) -> u64 {
        self.records.len() as u64
    }

    /// The record of a height; none for the genesis.
    pub fn get(&self, height: u64) -> Option<&Arc<SealRecord>> {
        let index = usize::try_from(height.checked_sub(1)?).ok()?;
        self.records.get(index)
    }

    /// The newest record.
    pub fn last(&self) -> Option<&Arc<SealRecord>> {
        self.records.last()
    }

    /// Adds the next record.
    ///
    /// # Errors
    /// The file cannot be written; memory is unchanged then.
    pub fn push(&mut self, record: SealRecord) -> io::Result<()> {
        let mut line = serde_json::to_vec(&record)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.records.push(Arc::new(record));
        Ok(())
    }

    /// Writes everything to the disk.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn flush(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devnode::record::Proposal;
    use common::chain::Address;

    fn record(height: u64) -> SealRecord {
        let proposer = Address([1; 20]);
        let proposal = Proposal {
            height,
            round: 0,
            proposer,
            fork: "genesis".into(),
            time_ms: 1,
            prev_committed: vec![],
        };
        SealRecord { proposal, committed: vec![proposer], hash: None }
    }

    #[test]
    fn a_torn_line_is_dropped_and_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seals.jsonl");
        let mut ledger = Ledger::open(&path).unwrap();
        ledger.push(record(1)).unwrap();
        ledger.push(record(2)).unwrap();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        let mut ledger = Ledger::open(&path).unwrap();
        assert_eq!(ledger.head(), 1);
        ledger.push(record(2)).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), whole);
    }
}
