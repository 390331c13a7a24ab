//! The policies that come with the program.

/// Names and texts of the built-in policies.
pub const BUILTIN: &[(&str, &str)] = &[
    ("canary", include_str!("../../../config/policies/canary.toml")),
    ("staged", include_str!("../../../config/policies/staged.toml")),
    ("conservative", include_str!("../../../config/policies/conservative.toml")),
];

/// The text of a built-in policy.
pub fn builtin(name: &str) -> Option<&'static str> {
    BUILTIN.iter().find(|(n, _)| *n == name).map(|(_, text)| *text)
}
