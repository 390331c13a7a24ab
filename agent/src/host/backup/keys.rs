//! Which files are secrets, and which must never go back in time.
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Whether a file or folder of this name holds keys. The list is geth's and its forks', and CometBFT's.
pub fn is_key(name: &OsStr) -> bool {
    let name = name.as_bytes();
    const NAMES: [&[u8]; 6] =
        [b"nodekey", b"nodekeys", b"keystore", b"priv_validator_key.json", b"node_key.json", b"jwtsecret"];
    NAMES.contains(&name) || name.ends_with(b".key") || name.starts_with(b"keyring-")
}

/// Whether a file says what was last signed. An older one lets a validator sign the same height twice, so
/// the one that is there is always kept.
pub fn is_signing_state(name: &OsStr) -> bool {
    name.as_bytes() == b"priv_validator_state.json"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_known_by_name() {
        for yes in ["nodekey", "nodekeys", "keystore", "a.key", "jwtsecret", "keyring-file"] {
            assert!(is_key(OsStr::new(yes)), "{yes}");
        }
        for no in ["nodekey.txt", "keys", "chaindata", "000001.sst", "key", "priv_validator_state.json"] {
            assert!(!is_key(OsStr::new(no)), "{no}");
        }
        assert!(is_signing_state(OsStr::new("priv_validator_state.json")));
    }
}
