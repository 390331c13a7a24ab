//! From the name of an upgrade to the folder of its release.
use crate::home::{GENESIS, Home};
use common::id::{NameError, ReleaseName};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What Go's `url.PathEscape` escapes: all but letters, digits and these.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b':')
    .remove(b'=')
    .remove(b'@');

/// A text that cannot name an upgrade.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TitleError {
    /// Nothing but white space.
    #[error("the name of an upgrade must not be empty")]
    Empty,
    /// A folder that is not an upgrade's.
    #[error("{0:?} cannot name an upgrade: its folder would be another one; give it another name")]
    Reserved(String),
    /// A line break, an escape, a zero byte.
    #[error("{0:?} cannot name an upgrade: it holds a control character")]
    Control(String),
    /// Too long, or its folder would be hidden.
    #[error("{title:?} cannot name an upgrade: {source}")]
    Folder {
        /// The text.
        title: String,
        /// The rule that its folder breaks.
        source: NameError,
    },
}

/// The release that an upgrade of this name leads to: in lower case when `recase`, escaped as a path segment
/// the way Go does.
///
/// # Errors
/// [`TitleError`] for `..`, an empty text, `genesis`, control characters, and what is too long.
pub fn name(title: &str, recase: bool) -> Result<ReleaseName, TitleError> {
    if title.trim().is_empty() {
        return Err(TitleError::Empty);
    }
    if title.chars().any(char::is_control) {
        return Err(TitleError::Control(title.to_owned()));
    }
    // Also `Genesis`: on a file system that ignores case it would be the same folder to a reader.
    if title == "." || title == ".." || title.eq_ignore_ascii_case(GENESIS) {
        return Err(TitleError::Reserved(title.to_owned()));
    }
    let text = if recase { lower(title) } else { title.to_owned() };
    let folder = utf8_percent_encode(&text, ESCAPED).to_string();
    ReleaseName::new(folder).map_err(|source| TitleError::Folder { title: title.to_owned(), source })
}

/// Title and release of an upgrade in a home. The folder that is there decides where two could be meant:
/// wemixvisor v0.x never changed the case of names, and cosmovisor's `prepare-upgrade` does not.
///
/// # Errors
/// As [`name`].
pub fn in_home(home: &Home, title: &str, recase: bool) -> Result<(String, ReleaseName), TitleError> {
    let usual = name(title, recase)?;
    let there = |release: &ReleaseName| home.root().join(home.release_folder(release)).is_dir();
    if recase && lower(title) != title && !there(&usual) {
        let as_it_is = name(title, false)?;
        if there(&as_it_is) {
            return Ok((title.to_owned(), as_it_is));
        }
    }
    Ok((if recase { lower(title) } else { title.to_owned() }, usual))
}

/// Whether two names are of the same upgrade; case does not matter.
pub(super) fn same(a: &str, b: &str) -> bool {
    lower(a) == lower(b)
}

/// Lower case letter by letter, without the rules for whole words, as Go does.
fn lower(text: &str) -> String {
    text.chars()
        .map(|c| {
            let mut all = c.to_lowercase();
            // The one letter with a longer lower case is the dotted capital I.
            if all.len() == 1 { all.next().unwrap_or(c) } else { 'i' }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_the_folders_of_the_other_supervisors() {
        let table = [
            ("upgrade1", "upgrade1"),
            ("Upgrade2", "upgrade2"),
            ("My Up", "my%20up"),
            ("some spaces", "some%20spaces"),
            ("a/b", "a%2Fb"),
            ("../../evil", "..%2F..%2Fevil"),
            ("v2-rc.1_x~y", "v2-rc.1_x~y"),
            ("a$b&c+d:e=f@g", "a$b&c+d:e=f@g"),
            ("a;b,c?d#e", "a%3Bb%2Cc%3Fd%23e"),
            ("a!b*c'd(e)f", "a%21b%2Ac%27d%28e%29f"),
            ("a%b", "a%25b"),
            ("a\"<>\\^`{|}[]", "a%22%3C%3E%5C%5E%60%7B%7C%7D%5B%5D"),
            ("Éclair", "%C3%A9clair"),
            ("✓", "%E2%9C%93"),
            ("ΟΔΟΣ", "%CE%BF%CE%B4%CE%BF%CF%83"),
            ("İx", "ix"),
        ];
        for (title, folder) in table {
            // A folder that begins with a dot is hidden, and refused below.
            match name(title, true) {
                Ok(name) => assert_eq!(name.as_str(), folder, "{title}"),
                Err(_) => assert!(folder.starts_with('.'), "{title}"),
            }
        }
        assert_eq!(name("Chain2", false).unwrap().as_str(), "Chain2");
        assert_eq!(name("My Up", false).unwrap().as_str(), "My%20Up");
    }

    #[test]
    fn names_that_leave_the_folder_of_upgrades_are_refused() {
        for bad in
            ["..", ".", "", "  ", "genesis", "Genesis", "../x", ".hidden", "-x", "a\nb", "a\0", "\u{1b}[2J"]
        {
            assert!(name(bad, true).is_err(), "{bad:?}");
            assert!(name(bad, false).is_err(), "{bad:?}");
        }
        assert!(name(&"x".repeat(128), true).is_ok());
        assert!(matches!(name(&"x".repeat(129), true), Err(TitleError::Folder { .. })));
        assert!(matches!(name(&"é".repeat(22), true), Err(TitleError::Folder { .. })), "22 times %C3%A9");
        let said = name("a\u{1b}b", true).unwrap_err().to_string();
        assert!(!said.contains('\u{1b}'), "a terminal is spared: {said:?}");
    }

    #[test]
    fn the_folder_that_is_there_decides_about_case() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path().to_owned(), "geth".into());
        let named = |title: &str| {
            let (title, name) = in_home(&home, title, true).unwrap();
            (title, name.to_string())
        };
        assert_eq!(named("Chain2"), ("chain2".into(), "chain2".into()));
        std::fs::create_dir_all(home.upgrades().join("Chain2")).unwrap();
        assert_eq!(named("Chain2"), ("Chain2".into(), "Chain2".into()));
        assert_eq!(named("CHAIN2"), ("chain2".into(), "chain2".into()));
        std::fs::create_dir_all(home.upgrades().join("chain2")).unwrap();
        assert_eq!(named("Chain2"), ("chain2".into(), "chain2".into()));
    }
}
