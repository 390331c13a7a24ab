//! Variables of the incumbents that say nothing here, and what is told about them.
use super::field::strict_bool;
use crate::home::Home;
use std::path::{Path, PathBuf};

/// Why a variable says nothing.
pub struct Reason {
    /// The variable.
    pub name: &'static str,
    /// Why, for people.
    pub text: &'static str,
    /// Whether people have to know.
    pub loud: bool,
}

const fn loud(name: &'static str, text: &'static str) -> Reason {
    Reason { name, text, loud: true }
}

/// The variables.
pub const IGNORED: [Reason; 6] = [
    loud("DAEMON_GRPC_ADDRESS", "geth-like nodes have no gRPC; [node] rpc says where the node answers"),
    loud("DAEMON_LOG_BUFFER_SIZE", "the node writes its output itself; nothing is buffered"),
    loud("UNSAFE_SKIP_CHECKSUM", "a checksum is always needed"),
    loud("DAEMON_DOWNLOAD_MUST_HAVE_CHECKSUM", "a checksum is always needed"),
    loud("DAEMON_HEIGHT_POLL_INTERVAL", "the height comes with every look at the node ([health] every)"),
    loud(
        "COSMOVISOR_CUSTOM_CURRENT_UPGRADEINFO",
        "the applied plan is kept with its release: upgrades/<name>/upgrade-info.json",
    ),
];

/// Why a variable says nothing; `None` when it does not belong to them.
pub fn reason(name: &str) -> Option<&'static Reason> {
    IGNORED.iter().find(|reason| reason.name == name)
}

/// Tells which of them are set, and refuses the ones that would have another program run than the user means.
pub fn look(
    home: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    errors: &mut Vec<String>,
    warnings: &mut Vec<String>,
) {
    for reason in &IGNORED {
        let Some(text) = env(reason.name).filter(|text| !text.is_empty()) else { continue };
        if reason.name == "DAEMON_DOWNLOAD_MUST_HAVE_CHECKSUM" {
            match strict_bool(&text) {
                Err(e) => errors.push(format!("env {}: {e}", reason.name)),
                Ok(true) => continue,
                Ok(false) => {}
            }
        }
        if reason.name == "UNSAFE_SKIP_CHECKSUM" && strict_bool(&text) == Ok(false) {
            continue;
        }
        warnings.push(format!("{} is ignored: {}", reason.name, reason.text));
    }
    elsewhere(home, env, errors);
}

/// What to say about variables that begin like ours and that nothing reads: a misspelt one would stay unnoticed.
pub fn unknown(names: impl Iterator<Item = String>) -> Vec<String> {
    let known: Vec<String> =
        super::keys::all().flat_map(|key| key.variables()).map(|(name, _)| name).collect();
    let others = ["WEMIXVISOR_CONFIG", "WEMIXVISOR_TOKEN"];
    let ours = names.filter(|name| name.starts_with("WEMIXVISOR_") && !others.contains(&name.as_str()));
    ours.filter(|name| !known.contains(name)).map(|name| format!("{name} is no known variable")).collect()
}

/// Places that some builds of cosmovisor let be moved. Here they are fixed; a moved one is refused, because
/// going on would run what is at the fixed place instead.
fn elsewhere(home: &Path, env: &dyn Fn(&str) -> Option<String>, errors: &mut Vec<String>) {
    let layout = Home::new(home.to_owned(), String::new());
    for (name, place) in [
        ("COSMOVISOR_CUSTOM_ROOT", layout.root().to_owned()),
        ("COSMOVISOR_CUSTOM_CURRENT_LINK", layout.current()),
        ("COSMOVISOR_CUSTOM_GENESIS", layout.root().join(crate::home::GENESIS)),
    ] {
        let Some(said) = env(name).filter(|text| !text.is_empty()).map(PathBuf::from) else { continue };
        if said != place && !same_place(&said, &place) {
            errors.push(format!(
                "env {name}: {} is not followed: make {} a link to it, then unset the variable",
                said.display(),
                place.display()
            ));
        }
    }
}

fn same_place(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
