//! What must hold beyond the type of each value.
use super::field::{Kind, Value};
use super::key::Draft;
use super::settings::{BackupBefore, Settings};
use super::{keys, network};
use crate::sync::coordinator::check_address;
use crate::webhook;
use common::time::Span;
use std::path::{Component, Path, PathBuf};

/// Forms of times with the pattern that cosmovisor writes into its file for each.
const TIME_FORMATS: [(&str, &str); 13] = [
    ("layout", "01/02 03:04:05PM '06 -0700"),
    ("ansic", "Mon Jan _2 15:04:05 2006"),
    ("unixdate", "Mon Jan _2 15:04:05 MST 2006"),
    ("rubydate", "Mon Jan 02 15:04:05 -0700 2006"),
    ("rfc822", "02 Jan 06 15:04 MST"),
    ("rfc822z", "02 Jan 06 15:04 -0700"),
    ("rfc850", "Monday, 02-Jan-06 15:04:05 MST"),
    ("rfc1123", "Mon, 02 Jan 2006 15:04:05 MST"),
    ("rfc1123z", "Mon, 02 Jan 2006 15:04:05 -0700"),
    ("rfc3339", "2006-01-02T15:04:05Z07:00"),
    ("rfc3339nano", "2006-01-02T15:04:05.999999999Z07:00"),
    ("kitchen", "3:04PM"),
    ("iso8601", "rfc3339"),
];

/// The name of a time format; the empty text is the name of none.
///
/// # Errors
/// A text that is neither a name nor one of the patterns.
pub fn time_format(text: &str) -> Result<String, String> {
    let lower = text.to_ascii_lowercase();
    match TIME_FORMATS.iter().find(|(name, pattern)| *name == lower || *pattern == text) {
        Some(("iso8601", same)) => Ok((*same).to_owned()),
        Some((name, _)) => Ok((*name).to_owned()),
        None if text.is_empty() => Ok(String::new()),
        None => {
            let names: Vec<_> = TIME_FORMATS.iter().map(|(name, _)| *name).collect();
            Err(format!("{text:?} is none of {}", names.join(", ")))
        }
    }
}

/// Shortest and longest of what a length of time can be; what is not here can be zero.
const SPANS: [(&str, Span, Span); 8] = [
    ("node.stop", Span(1), Span::mins(24 * 60)),
    ("upgrade.poll", Span(10), Span::mins(60)),
    ("upgrade.start_within", Span::secs(1), Span::mins(24 * 60)),
    ("upgrade.rpc_within", Span::secs(1), Span::mins(24 * 60)),
    ("download.within", Span::secs(1), Span::mins(24 * 60)),
    ("hooks.timeout", Span::secs(1), Span::mins(24 * 60)),
    ("health.every", Span(100), Span::mins(60)),
    ("health.head_age", Span::secs(1), Span::mins(24 * 60)),
];

/// Smallest and largest of numbers that have limits.
const NUMBERS: [(&str, u64, u64); 6] = [
    ("download.max_bytes", 1, u64::MAX),
    ("geth.network_id", 1, u64::MAX),
    ("geth.http_port", 1, 65_535),
    ("geth.ws_port", 1, 65_535),
    ("geth.port", 1, 65_535),
    ("geth.verbosity", 0, 5),
];

/// What the checks found.
#[derive(Debug, Default)]
pub struct Findings {
    /// What forbids the settings.
    pub errors: Vec<String>,
    /// What people should know.
    pub warnings: Vec<String>,
}

/// Checks settings that are complete. Home, name, fleet and trust are checked where they are put together.
pub fn check(settings: &Settings) -> Findings {
    let mut findings = Findings::default();
    let draft = Draft::of(settings);
    limits(&draft, &mut findings.errors);
    paths(settings, &draft, &mut findings.errors);
    backup(settings, &mut findings.errors);
    addresses(settings, &mut findings.errors);
    words(settings, &mut findings.errors);
    if let Some(network) = &settings.node.network {
        let judgement = network::judge(network, &settings.node.args);
        findings.errors.extend(judgement.errors);
        findings.warnings.extend(judgement.warnings);
    }
    findings
}

fn limits(draft: &Draft, errors: &mut Vec<String>) {
    for (path, least, most) in SPANS {
        let Ok(key) = keys::named(path) else { continue };
        let said = (key.get)(draft).show().and_then(|v| v.to_string().parse::<Span>().ok());
        if said.is_some_and(|span| span < least || span > most) {
            errors.push(format!("{}: it must be {least} or more and {most} or less", key.place()));
        }
    }
    for (path, least, most) in NUMBERS {
        let Ok(key) = keys::named(path) else { continue };
        if let Some(Value::Integer(n)) = (key.get)(draft).show()
            && !(least..=most).contains(&n)
        {
            let most = if most == u64::MAX { String::new() } else { format!(" and {most} or less") };
            errors.push(format!("{}: {n} must be {least} or more{most}", key.place()));
        }
    }
}

fn paths(settings: &Settings, draft: &Draft, errors: &mut Vec<String>) {
    let skipped = settings.backup.before_upgrade == BackupBefore::Never;
    for key in keys::all().filter(|key| key.kind() == Kind::Path && key.path() != "node.home") {
        let Some(text) = (key.get)(draft).show().map(|v| v.to_string()) else { continue };
        // A home or data folder that is not absolute is one error, not one for each path in it.
        let data_dir = &settings.node.data_dir;
        let follows = Path::new(&text).starts_with(&settings.node.home)
            || key.path() != "node.data_dir" && Path::new(&text).starts_with(data_dir);
        let unused = skipped && key.path() == "backup.dir";
        if !Path::new(&text).is_absolute() && !follows && !unused {
            errors.push(format!("{}: the path {text:?} is not absolute", key.place()));
        }
    }
    if let Some(script) = &settings.hooks.pre_upgrade
        && !stays_inside(script)
    {
        errors.push(format!(
            "[hooks] pre_upgrade: {script:?} is no file in the supervisor's folder: write its name alone"
        ));
    }
}

/// Whether a relative path stays below the folder it is relative to.
fn stays_inside(path: &str) -> bool {
    let mut parts = Path::new(path).components();
    !path.is_empty() && parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

fn backup(settings: &Settings, errors: &mut Vec<String>) {
    let (backup, home) = (&settings.backup, &settings.node.home);
    if backup.before_upgrade == BackupBefore::Never {
        return;
    }
    let saved: Vec<PathBuf> = match backup.include.as_slice() {
        [] => vec![settings.node.data_dir.clone()],
        paths => paths.iter().map(|path| home.join(path)).collect(),
    };
    for path in &backup.include {
        let inside = if Path::new(path).is_absolute() {
            Path::new(path).starts_with(home) && !path.contains("..")
        } else {
            stays_inside(path)
        };
        if !inside {
            errors.push(format!("[backup] include: {path:?} is not in the home {}", home.display()));
        }
    }
    let dir = backup.dir.canonicalize().unwrap_or_else(|_| backup.dir.clone());
    for folder in saved {
        let folder = folder.canonicalize().unwrap_or(folder);
        if !folder.as_os_str().is_empty() && dir.starts_with(&folder) {
            errors.push(format!(
                "[backup] dir: {} is in {}, which is saved: a backup would hold itself; choose a folder outside",
                dir.display(),
                folder.display()
            ));
        }
    }
}

/// Whether the backup folder is there; asked where it was named.
pub fn backup_dir_is_there(settings: &Settings, errors: &mut Vec<String>) {
    let dir = &settings.backup.dir;
    let asked = settings.backup.before_upgrade != BackupBefore::Never && *dir != settings.node.home;
    if asked && dir.is_absolute() && !dir.is_dir() {
        errors.push(format!(
            "[backup] dir: {} is no folder: make it, or set another one (DAEMON_DATA_BACKUP_DIR)",
            dir.display()
        ));
    }
}

impl Settings {
    /// What has to be there before a node can be run and is not: the home, and the supervisor's folder in it.
    pub fn absent(&self) -> Vec<String> {
        let (home, layout) = (&self.node.home, self.layout());
        if !home.is_dir() {
            return vec![format!(
                "[node] home: {} is no folder: make it, or name another home",
                home.display()
            )];
        }
        if !layout.root().is_dir() {
            let root = layout.root().display();
            return vec![format!("{root} is no folder: `wemixvisor init EXECUTABLE` makes it")];
        }
        Vec::new()
    }
}

fn addresses(settings: &Settings, errors: &mut Vec<String>) {
    let rpc = &settings.node.rpc;
    let is_url = || reqwest::Url::parse(rpc).is_ok_and(|u| matches!(u.scheme(), "http" | "https"));
    if !Path::new(rpc).is_absolute() && !is_url() {
        errors.push(format!("[node] rpc: {rpc:?} is no http address and no absolute path of an IPC socket"));
    }
    if let Some(address) = settings.agent.metrics.filter(|a| !a.ip().is_loopback()) {
        errors.push(format!("[agent] metrics: {address} is no loopback address: write 127.0.0.1:PORT"));
    }
    if let Some(Err(e)) = settings.webhook.as_ref().map(|w| check_address(&w.url)) {
        errors.push(format!("[webhook] url: {e}"));
    }
    for name in settings.webhook.iter().flat_map(|w| &w.on).filter(|name| webhook::Kind::of(name).is_none()) {
        errors.push(format!("[webhook] on: {name:?} is no event; there are {}", webhook::Kind::names()));
    }
}

fn words(settings: &Settings, errors: &mut Vec<String>) {
    if let Err(e) = crate::cli::log::targets(&settings.log.filter) {
        errors.push(format!("[log] filter: {:?} is no log filter: {e}", settings.log.filter));
    }
    if let Err(e) = time_format(&settings.log.time) {
        errors.push(format!("[log] time: {e}"));
    }
    let geth = &settings.geth;
    for (name, said, words) in [
        ("syncmode", &geth.syncmode, ["full", "snap", "light"].as_slice()),
        ("gcmode", &geth.gcmode, ["full", "archive"].as_slice()),
    ] {
        if let Some(word) = said.as_ref().filter(|word| !words.contains(&word.as_str())) {
            errors.push(format!("[geth] {name}: {word:?} is none of {}", words.join(", ")));
        }
    }
    let is_address = |text: &str| {
        let digits = text.strip_prefix("0x").unwrap_or_default();
        digits.len() == 40 && digits.bytes().all(|b| b.is_ascii_hexdigit())
    };
    if let Some(text) = geth.etherbase.as_deref().filter(|text| !is_address(text)) {
        errors.push(format!("[geth] etherbase: {text:?} is no address: 0x and 40 hexadecimal digits"));
    }
    for node in geth.bootnodes.iter().filter(|n| !n.starts_with("enode://") && !n.starts_with("enr:")) {
        errors.push(format!("[geth] bootnodes: {node:?} is neither an enode:// URL nor an enr: record"));
    }
}
