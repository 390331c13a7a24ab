//! Programs run around an upgrade.
