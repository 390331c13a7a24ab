//! Where file systems are mounted. A mount point cannot be renamed.
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Mount points that this process sees; none where the system does not tell.
pub fn points() -> Vec<PathBuf> {
    parse(&std::fs::read("/proc/self/mountinfo").unwrap_or_default())
}

fn parse(table: &[u8]) -> Vec<PathBuf> {
    let lines = table.split(|b| *b == b'\n');
    let fifth = |line: &[u8]| line.split(|b| *b == b' ').nth(4).map(plain);
    lines.filter_map(fifth).collect()
}

/// Undoes the octal escapes of spaces and the like.
fn plain(mut text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    while let Some((first, rest)) = text.split_first() {
        let code = rest.get(..3).and_then(|d| std::str::from_utf8(d).ok());
        match code.and_then(|d| u8::from_str_radix(d, 8).ok()).filter(|_| *first == b'\\') {
            Some(byte) => {
                bytes.push(byte);
                text = &rest[3..];
            }
            None => {
                bytes.push(*first);
                text = rest;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone() {
        let table = b"22 1 254:0 / / rw shared:1 - ext4 /dev/vda rw\n30 22 0:5 / /mnt/a\\040b\\134c rw - tmpfs t rw\nbad\n";
        assert_eq!(parse(table), [PathBuf::from("/"), PathBuf::from("/mnt/a b\\c")]);
        assert!(points().contains(&PathBuf::from("/proc")));
    }
}
