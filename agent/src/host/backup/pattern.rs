//! Patterns of paths: `*` and `?` within a name, `**` for any number of folders.
use super::BackupError;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A pattern, matched on a whole path relative to the root that is saved. What it matches is left out
/// with everything below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// `**`: any number of names, none included.
    Any,
    /// One name, with its wildcards.
    Name(Vec<u8>),
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`BackupError::Exclude`] for one that could never match, or that says something else than it seems to.
    pub fn parse(text: &str) -> Result<Pattern, BackupError> {
        let refuse = |why| Err(BackupError::Exclude { pattern: text.to_owned(), why });
        if text.starts_with('/') {
            return refuse("it is matched on paths relative to what is saved, so it begins with no '/'");
        }
        let mut parts = Vec::new();
        for name in text.strip_suffix('/').unwrap_or(text).split('/') {
            parts.push(match name {
                "" => return refuse("a name in it is empty"),
                "." | ".." => return refuse("paths hold neither '.' nor '..'"),
                "**" => Part::Any,
                name if name.contains("**") => return refuse("'**' stands alone between '/'"),
                name => Part::Name(name.as_bytes().to_vec()),
            });
        }
        Ok(Pattern(parts))
    }

    /// Whether the pattern matches a relative path.
    pub fn matches(&self, path: &Path) -> bool {
        let names: Vec<&[u8]> = path.iter().map(OsStrExt::as_bytes).collect();
        // reached[n]: the parts so far match the first n names. One row a part keeps `**/**/**` linear.
        let mut reached = vec![false; names.len() + 1];
        reached[0] = true;
        for part in &self.0 {
            let mut next = vec![false; names.len() + 1];
            match part {
                Part::Any => {
                    let mut open = false;
                    for (n, slot) in next.iter_mut().enumerate() {
                        open |= reached[n];
                        *slot = open;
                    }
                }
                Part::Name(pattern) => {
                    for (n, name) in names.iter().enumerate() {
                        next[n + 1] = reached[n] && name_matches(pattern, name);
                    }
                }
            }
            reached = next;
        }
        reached[names.len()]
    }
}

/// Matches one name. On a mismatch only the last `*` is asked to take more, which is enough.
fn name_matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(b'?') => {
                p += 1;
                n += letter(&name[n..]);
            }
            Some(byte) if *byte == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    n = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

/// Bytes of the first letter; a byte that is no UTF-8 counts as one.
fn letter(bytes: &[u8]) -> usize {
    let tail = bytes[1..].iter().take(3).take_while(|b| **b & 0xC0 == 0x80).count();
    if std::str::from_utf8(&bytes[..=tail]).is_ok() { tail + 1 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, yes: &[&str], no: &[&str]) {
        let parsed = Pattern::parse(pattern).unwrap();
        for path in yes {
            assert!(parsed.matches(Path::new(path)), "{pattern} matches {path}");
        }
        for path in no {
            assert!(!parsed.matches(Path::new(path)), "{pattern} does not match {path}");
        }
    }

    #[test]
    fn names() {
        check("geth", &["geth"], &["geth/a", "a/geth", "gethx", "get", ""]);
        check("*.log", &["a.log", ".log"], &["a/b.log", "a.log.1", "log"]);
        check("a*b*c", &["abc", "axxbyyc", "abbbcbc"], &["ab", "acb", "abcd"]);
        check("?", &["x", "é", "界"], &["", "xy"]);
        check("a?*", &["ab", "abc"], &["a"]);
        check("*", &["a", "anything"], &["a/b", ""]);
        check("a/", &["a"], &["a/b"]);
    }

    #[test]
    fn folders() {
        check("geth/*/LOCK", &["geth/chaindata/LOCK"], &["geth/LOCK", "geth/a/b/LOCK"]);
        check("**/LOCK", &["LOCK", "a/LOCK", "a/b/LOCK"], &["LOCK/a", "aLOCK"]);
        check("geth/**", &["geth", "geth/a", "geth/a/b"], &["gethx", "a/geth"]);
        check("a/**/z", &["a/z", "a/b/z", "a/b/c/z"], &["a/b/z/c", "z"]);
        check("**", &["a", "a/b"], &[]);
        check("**/a/**/b", &["a/b", "x/a/y/b", "a/a/b/b"], &["b/a", "a"]);
    }

    #[test]
    fn many_stars_end() {
        let long = "a".repeat(200);
        check(&format!("{}b", "*a".repeat(60)), &[], &[&long]);
        check(&format!("{}b", "**/".repeat(60)), &[], &[&"a/".repeat(200)]);
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["", "/", "/a", "a//b", "../a", "a/./b", "a**", "**b/c"] {
            assert!(Pattern::parse(bad).is_err(), "{bad:?}");
        }
    }
}
