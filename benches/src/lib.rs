//! Nothing to use: `benches/` holds the criterion benches, `tests/tidy.rs` what text can check of the tree.
