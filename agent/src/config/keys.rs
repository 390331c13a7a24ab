//! All keys of the settings. What is read, shown, documented and compared comes from this table.
use super::geth::GETH;
use super::key::Key;
use super::rows::{NODE, SUPERVISOR};

/// The sections in the order of the documents, with what each is about.
pub const SECTIONS: [(&str, &str); 12] = [
    ("node", "The chain client and how it is run."),
    ("geth", "The chain client's own configuration. It becomes the node's arguments where none are given."),
    ("upgrade", "Upgrades that this host decides."),
    ("download", "Fetching of releases that a plan names by URL."),
    ("backup", "Backups of the node's data."),
    ("hooks", "Programs run around an upgrade."),
    ("health", "When the node counts as unhealthy."),
    ("log", "The agent's own log, and the file with the node's output."),
    ("agent", "The supervisor itself."),
    ("webhook", "Whom events are told to."),
    ("fleet", "The fleet this host belongs to."),
    ("trust", "Whose signatures this host believes."),
];

/// Keys with an older name: section and name as they were, section and name as they are.
const ALIASES: [(&str, &str, &str, &str); 1] = [("agent", "log", "log", "filter")];

/// All keys, in the order of the documents.
pub fn all() -> impl Iterator<Item = &'static Key> {
    NODE.iter().chain(GETH).chain(SUPERVISOR)
}

/// The key of a section and a name, older names included.
pub fn find(section: &str, name: &str) -> Option<&'static Key> {
    let renamed = ALIASES.iter().find(|(s, n, ..)| *s == section && *n == name);
    let (section, name) = renamed.map_or((section, name), |(_, _, s, n)| (*s, *n));
    all().find(|key| key.section == section && key.name == name)
}

/// Section and name that a key had before.
pub fn older(key: &Key) -> Option<(&'static str, &'static str)> {
    let alias = ALIASES.iter().find(|(.., section, name)| *section == key.section && *name == key.name);
    alias.map(|(section, name, ..)| (*section, *name))
}

/// The key that is written `section.key`.
///
/// # Errors
/// That there is none, with the nearest one.
pub fn named(path: &str) -> Result<&'static Key, String> {
    let (section, name) = path.split_once('.').unwrap_or(("", path));
    find(section, name).ok_or_else(|| format!("{path} is no known key{}", hint(section, name)))
}

/// `; did you mean …?`, or nothing when no key is near.
pub fn hint(section: &str, name: &str) -> String {
    // Another section counts less than a letter: a key that is in the wrong place is found first.
    let far = |key: &Key| 2 * distance(key.name, name) + usize::from(key.section != section);
    let near = all().min_by_key(|key| far(key)).filter(|key| distance(key.name, name) <= 1 + name.len() / 4);
    near.map(|key| format!("; did you mean {}?", key.place())).unwrap_or_default()
}

/// `; did you mean …?` for a section.
pub fn section_hint(section: &str) -> String {
    let near = SECTIONS.iter().map(|(name, _)| *name).min_by_key(|name| distance(name, section));
    let near = near.filter(|name| distance(name, section) <= 2);
    near.map(|name| format!("; did you mean [{name}]?")).unwrap_or_default()
}

/// Edits (insert, delete, replace, swap neighbours once) that turn one word into the other.
fn distance(a: &str, b: &str) -> usize {
    if swapped(a.as_bytes(), b.as_bytes()) {
        return 1;
    }
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replaced = corner + usize::from(ca != *cb);
            corner = row[j + 1];
            row[j + 1] = replaced.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// Whether two neighbouring letters are in each other's place and all else is equal.
fn swapped(a: &[u8], b: &[u8]) -> bool {
    let Some(at) = a.iter().zip(b).position(|(x, y)| x != y) else { return false };
    let next = |word: &[u8]| word.get(at + 1).copied();
    a.len() == b.len() && next(a) == Some(b[at]) && next(b) == Some(a[at]) && a[at + 2..] == b[at + 2..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::key::Draft;
    use std::collections::BTreeSet;

    #[test]
    fn keys_and_variables_are_unique_and_explained() {
        let (mut paths, mut variables, draft) = (BTreeSet::new(), BTreeSet::new(), Draft::default());
        for key in all() {
            let path = key.path();
            assert!(paths.insert(path.clone()), "{path} twice");
            assert!(SECTIONS.iter().any(|(name, _)| *name == key.section), "{path}");
            for (name, _) in key.variables() {
                assert!(variables.insert(name.clone()), "{name} twice");
            }
            let unset = (key.get)(&draft).show().is_none_or(|v| v.to_string().is_empty());
            let required = matches!(path.as_str(), "node.home" | "node.name");
            assert_eq!(unset || required, !key.example.is_empty(), "{path}: an example is for unset keys");
            assert!(key.help.ends_with('.'), "{path}: its help is a sentence");
        }
        assert!(paths.len() > 80, "{}", paths.len());
    }

    #[test]
    fn a_near_key_is_named() {
        assert_eq!(hint("node", "rpx"), "; did you mean [node] rpc?");
        assert_eq!(hint("node", "poll"), "; did you mean [upgrade] poll?");
        assert_eq!(hint("node", "zzzzzzzz"), "");
        assert_eq!(section_hint("helth"), "; did you mean [health]?");
        assert!(named("geth.cahce").err().is_some_and(|e| e.contains("[geth] cache")));
        assert_eq!(named("agent.log").map(Key::path), Ok("log.filter".to_owned()));
        assert_eq!((distance("rcp", "rpc"), distance("a", "b"), distance("ab", "ba")), (1, 1, 1));
        assert_eq!((distance("", "abc"), distance("kitten", "sitting")), (3, 3));
    }
}
