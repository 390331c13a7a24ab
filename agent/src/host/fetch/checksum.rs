//! Checksums in the forms that plans and checksum files use.
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr;

/// A hash function that a plan may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// 32 digits; broken, accepted with a warning because old plans use it.
    Md5,
    /// 40 digits; broken, accepted with a warning because old plans use it.
    Sha1,
    /// 64 digits.
    Sha256,
    /// 128 digits.
    Sha512,
}

impl Algorithm {
    const ALL: [Algorithm; 4] = [Algorithm::Md5, Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512];

    /// Its name in URLs.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Md5 => "md5",
            Algorithm::Sha1 => "sha1",
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        }
    }

    /// Length of a checksum in hexadecimal digits.
    pub fn digits(self) -> usize {
        match self {
            Algorithm::Md5 => 32,
            Algorithm::Sha1 => 40,
            Algorithm::Sha256 => 64,
            Algorithm::Sha512 => 128,
        }
    }

    /// Whether two files with the same checksum can be made on purpose.
    pub fn weak(self) -> bool {
        matches!(self, Algorithm::Md5 | Algorithm::Sha1)
    }

    /// The checksum of a file, read piece by piece.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of_file(self, path: &Path) -> io::Result<Checksum> {
        let mut file = File::open(path)?;
        let bytes = match self {
            Algorithm::Md5 => run::<Md5>(&mut file),
            Algorithm::Sha1 => run::<Sha1>(&mut file),
            Algorithm::Sha256 => run::<Sha256>(&mut file),
            Algorithm::Sha512 => run::<Sha512>(&mut file),
        }?;
        Ok(Checksum { algorithm: self, bytes })
    }

    /// The checksum of some bytes held in memory.
    pub fn of(self, bytes: &[u8]) -> Checksum {
        let bytes = match self {
            Algorithm::Md5 => Md5::digest(bytes).to_vec(),
            Algorithm::Sha1 => Sha1::digest(bytes).to_vec(),
            Algorithm::Sha256 => Sha256::digest(bytes).to_vec(),
            Algorithm::Sha512 => Sha512::digest(bytes).to_vec(),
        };
        Checksum { algorithm: self, bytes }
    }
}

fn run<D: Digest>(file: &mut File) -> io::Result<Vec<u8>> {
    let mut hash = D::new();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().to_vec()),
            n => hash.update(&buffer[..n]),
        }
    }
}

/// What the bytes of a file must hash to.
#[derive(Clone, PartialEq, Eq)]
pub struct Checksum {
    /// By which function.
    pub algorithm: Algorithm,
    bytes: Vec<u8>,
}

/// A text that is no checksum.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no checksum: sha256:HEX, sha512:HEX, sha1:HEX, md5:HEX or HEX of such a length is expected"
)]
pub struct ChecksumError(pub String);

impl Checksum {
    /// A SHA-256 digest as a checksum.
    pub fn sha256(digest: &common::release::Digest) -> Checksum {
        Checksum { algorithm: Algorithm::Sha256, bytes: digest.0.to_vec() }
    }

    /// The digest, when this is a SHA-256 checksum.
    pub fn digest(&self) -> Option<common::release::Digest> {
        let bytes = self.bytes.as_slice().try_into().ok()?;
        (self.algorithm == Algorithm::Sha256).then_some(common::release::Digest(bytes))
    }

    /// Finds the checksum of the file `name` in a checksum file: a line that names it, as `sha256sum` and
    /// its BSD relatives write them, or the only line there is.
    pub fn in_text(text: &str, name: &str, algorithm: Option<Algorithm>) -> Option<Checksum> {
        let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
        let lines: Vec<(Checksum, Option<&str>)> =
            lines.filter_map(line).filter(|(c, _)| algorithm.is_none_or(|a| a == c.algorithm)).collect();
        let base = |path: &str| path.rsplit('/').next().unwrap_or_default() == name;
        let named = lines.iter().find(|(_, path)| path.is_some_and(base));
        match (named, lines.as_slice()) {
            (Some((checksum, _)), _) | (None, [(checksum, _)]) => Some(checksum.clone()),
            _ => None,
        }
    }
}

/// `HEX`, `HEX  name`, `HEX *name` or `SHA256 (name) = HEX`.
fn line(line: &str) -> Option<(Checksum, Option<&str>)> {
    if let Some((head, hex)) = line.rsplit_once(" = ") {
        let name = head.split_once('(')?.1.strip_suffix(')')?;
        return Some((hex.trim().parse().ok()?, Some(name)));
    }
    let (hex, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let name = rest.trim().trim_start_matches('*');
    Some((hex.parse().ok()?, (!name.is_empty()).then_some(name)))
}

impl FromStr for Checksum {
    type Err = ChecksumError;

    /// `TYPE:HEX`, or `HEX` whose length tells the type. Upper and lower case are the same.
    fn from_str(text: &str) -> Result<Checksum, ChecksumError> {
        let wrong = || ChecksumError(text.chars().take(150).collect());
        let (kind, hex) = match text.split_once(':') {
            Some((kind, hex)) => (Some(kind.to_ascii_lowercase()), hex),
            None => (None, text),
        };
        let fits = |a: &Algorithm| kind.as_deref().is_none_or(|k| k == a.name()) && a.digits() == hex.len();
        let algorithm = Algorithm::ALL.into_iter().find(fits).ok_or_else(wrong)?;
        Ok(Checksum { algorithm, bytes: hex::decode(hex).map_err(|_| wrong())? })
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), hex::encode(&self.bytes))
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers_of_each_function() {
        for (text, of_abc) in [
            ("md5", "900150983cd24fb0d6963f7d28e17f72"),
            ("sha1", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            ("sha256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ] {
            let checksum: Checksum = format!("{text}:{of_abc}").parse().unwrap();
            assert_eq!(checksum.algorithm.of(b"abc"), checksum, "{text}");
            assert_eq!(of_abc.to_uppercase().parse::<Checksum>().unwrap(), checksum, "by length");
        }
        assert_eq!(Algorithm::Sha512.of(b"abc").to_string().len(), "sha512:".len() + 128);
    }

    #[test]
    fn what_is_no_checksum() {
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        for bad in ["", "sha256", "sha256:", "sha256:abcd", "sha3:00", &hex[1..], &format!("md5:{hex}")] {
            assert!(bad.parse::<Checksum>().is_err(), "{bad}");
        }
        assert!(hex.replace('a', "g").parse::<Checksum>().is_err());
    }

    #[test]
    fn checksum_files() {
        let (one, two) = (Algorithm::Sha256.of(b"1"), Algorithm::Sha256.of(b"2"));
        let hex = |c: &Checksum| c.to_string().split_off("sha256:".len());
        let find = |text: &str| Checksum::in_text(text, "geth", None);
        assert_eq!(find(&hex(&one)), Some(one.clone()), "bare");
        assert_eq!(find(&format!("{}  other\n", hex(&one))), Some(one.clone()), "the only line");
        let list = format!("# two\n{}  dist/other\n{} *dist/geth\n", hex(&one), hex(&two));
        assert_eq!(find(&list), Some(two.clone()), "the named line");
        let bsd = format!("SHA256 (other) = {}\nSHA256 (geth) = {}\n", hex(&one), hex(&two));
        assert_eq!(find(&bsd), Some(two.clone()), "BSD");
        assert_eq!(find(&list.replace("geth", "third")), None, "two lines, none of them named");
        assert_eq!(Checksum::in_text(&hex(&one), "geth", Some(Algorithm::Sha512)), None, "other length");
        assert_eq!(find("<html>not found</html>"), None);
    }
}
