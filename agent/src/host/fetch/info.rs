//! The `info` of a plan: which files it names.
use super::checksum::{Checksum, ChecksumError};
use super::source::{Given, Source, SourceError};
use common::release::Digest;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Largest `info`, also behind a URL, in bytes.
pub const MAX_INFO_BYTES: usize = 256 * 1024;
/// The key of a file that fits every platform.
const ANY: &str = "any";

/// The files a plan names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlanFiles {
    /// URLs by platform (`linux/amd64`, …, or `any`).
    Binaries {
        /// The URLs.
        urls: BTreeMap<String, String>,
        /// Checksums that stand beside the URLs, as wemixvisor v0.x has them: by platform, or under
        /// `any` for all of them.
        checksums: BTreeMap<String, Checksum>,
    },
    /// A URL, with its own checksum, of a document with such URLs.
    Reference(String),
    /// A manifest that maintainers signed; the signatures are at the same URL with `.minisig`.
    Manifest {
        /// Where it is.
        url: String,
        /// Digest of its bytes.
        sha256: Digest,
    },
}

/// An `info` that names no file to fetch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InfoError {
    /// There is nothing in it.
    #[error("the plan's info is blank: add the executable with add-upgrade, or name a URL in the plan")]
    Blank,
    /// Longer than [`MAX_INFO_BYTES`].
    #[error("the plan's info has {0} bytes, at most 262144 are accepted")]
    TooLarge(usize),
    /// Neither a URL nor JSON of a known form.
    #[error("could not parse the plan's info: {0}")]
    Unreadable(String),
    /// A checksum beside the URLs is none.
    #[error("the plan's info: {0}")]
    Checksum(#[from] ChecksumError),
    /// No URL is in it.
    #[error("the plan's info names no binaries")]
    NoBinary,
    /// A key that is no platform.
    #[error("the plan's info has the key {0:?}: OS/ARCH such as linux/amd64, or any, is expected")]
    Platform(String),
    /// No file for this host.
    #[error("the plan's info has nothing for {platform}; it has: {there}")]
    NotForHere {
        /// This host's platform.
        platform: String,
        /// The platforms that are there.
        there: String,
    },
    /// A URL cannot be used.
    #[error("the plan's {platform}: {source}")]
    Source {
        /// The platform it is for, `info` or `manifest`.
        platform: String,
        /// What is wrong with it.
        source: SourceError,
    },
    /// A document that says what to run, without a checksum of its own.
    #[error("the plan's info is the URL {0} without ?checksum=: what it says could be anything")]
    ReferenceUnchecked(String),
    /// A document that names another document.
    #[error("the document behind the plan's info names yet another document; it must name binaries")]
    Nested,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Sums {
    One(String),
    Each(BTreeMap<String, String>),
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    binaries: Option<BTreeMap<String, String>>,
    #[serde(default)]
    checksum: Option<Sums>,
    #[serde(default)]
    manifest: Option<String>,
    #[serde(default)]
    sha256: Option<Digest>,
}

/// Reads the `info` of a plan. Keys that are not known are passed over, as the incumbents do.
///
/// # Errors
/// [`InfoError`] when it is blank, too long, or neither a URL nor JSON of a known form. What it names
/// is looked at by [`validate`].
pub fn parse_info(info: &str) -> Result<PlanFiles, InfoError> {
    let info = info.trim();
    if info.is_empty() {
        return Err(InfoError::Blank);
    }
    if info.len() > MAX_INFO_BYTES {
        return Err(InfoError::TooLarge(info.len()));
    }
    if !info.starts_with('{') {
        // A JSON string around the URL comes from plans that quote twice.
        let text = serde_json::from_str::<String>(info).unwrap_or_else(|_| info.to_owned());
        return match Source::parse(&text) {
            Ok(_) => Ok(PlanFiles::Reference(text)),
            Err(e) => Err(InfoError::Unreadable(format!("it is no JSON object and no URL ({e})"))),
        };
    }
    let document: Document = serde_json::from_str(info).map_err(|e| InfoError::Unreadable(e.to_string()))?;
    match (document.manifest, document.sha256, document.binaries) {
        (Some(url), Some(sha256), None) => return Ok(PlanFiles::Manifest { url, sha256 }),
        (None, None, urls) => {
            let checksums = match document.checksum {
                None => BTreeMap::new(),
                // v0.x writes an empty one when it knows none.
                Some(Sums::One(text)) if text.is_empty() => BTreeMap::new(),
                Some(Sums::One(text)) => BTreeMap::from([(ANY.to_owned(), text.parse()?)]),
                Some(Sums::Each(texts)) => {
                    let each = texts.into_iter().map(|(k, v)| Ok((k, v.parse()?)));
                    each.collect::<Result<_, ChecksumError>>()?
                }
            };
            return Ok(PlanFiles::Binaries { urls: urls.unwrap_or_default(), checksums });
        }
        _ => {}
    }
    let why = "either binaries, or manifest and sha256 together, are expected";
    Err(InfoError::Unreadable(why.to_owned()))
}

/// Whether everything that the plan names could be fetched, as far as its text says. Whether a checksum
/// lies beside a file without one is seen by [`super::check_urls`].
///
/// # Errors
/// [`InfoError`] for the first thing that is wrong.
pub fn validate(files: &PlanFiles) -> Result<(), InfoError> {
    match files {
        PlanFiles::Binaries { urls, checksums } => {
            if urls.is_empty() {
                return Err(InfoError::NoBinary);
            }
            if let Some(bad) = urls.keys().chain(checksums.keys()).find(|k| !is_platform(k)) {
                return Err(InfoError::Platform(bad.clone()));
            }
            urls.iter().try_for_each(|(platform, url)| source_of(platform, url).map(|_| ()))
        }
        PlanFiles::Reference(url) => match source_of("info", url)?.given {
            Some(_) => Ok(()),
            None => Err(InfoError::ReferenceUnchecked(url.chars().take(200).collect())),
        },
        PlanFiles::Manifest { url, .. } => source_of("manifest", url).map(|_| ()),
    }
}

fn is_platform(key: &str) -> bool {
    let word = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_alphanumeric());
    key == ANY || key.split_once('/').is_some_and(|(os, arch)| word(os) && word(arch))
}

pub(super) fn source_of(platform: &str, url: &str) -> Result<Source, InfoError> {
    Source::parse(url).map_err(|source| InfoError::Source { platform: platform.to_owned(), source })
}

/// The sources by platform; a checksum that stands beside a URL is the URL's unless it has its own.
pub(super) fn sources(
    urls: &BTreeMap<String, String>,
    checksums: &BTreeMap<String, Checksum>,
) -> Result<BTreeMap<String, Source>, InfoError> {
    let each = urls.iter().map(|(platform, url)| {
        let mut source = source_of(platform, url)?;
        let beside = checksums.get(platform).or_else(|| checksums.get(ANY));
        source.given = source.given.or_else(|| beside.cloned().map(Given::Sum));
        Ok((platform.clone(), source))
    });
    each.collect()
}

/// The source for this host.
pub(super) fn here(sources: &BTreeMap<String, Source>) -> Result<&Source, InfoError> {
    let platform = platform();
    sources.get(&platform).or_else(|| sources.get(ANY)).ok_or_else(|| {
        let there = sources.keys().map(|k| k.escape_default().to_string()).collect::<Vec<_>>().join(", ");
        InfoError::NotForHere { platform, there: there.chars().take(200).collect() }
    })
}

/// This host's platform as Go names it, for example `linux/amd64`.
pub fn platform() -> String {
    let os = match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "loongarch64" => "loong64",
        other => other,
    };
    format!("{os}/{arch}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUM: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn check(info: &str) -> Result<PlanFiles, String> {
        let files = parse_info(info).map_err(|e| e.to_string())?;
        validate(&files).map_err(|e| e.to_string())?;
        Ok(files)
    }

    #[test]
    fn every_form() {
        let url = format!("https://r.example.org/geth?checksum={SUM}");
        let urls = |platform: &str| BTreeMap::from([(platform.to_owned(), url.clone())]);
        let inline = format!(r#"{{"binaries":{{"linux/amd64":"{url}"}},"other":1}}"#);
        let none = BTreeMap::new();
        assert_eq!(check(&inline), Ok(PlanFiles::Binaries { urls: urls("linux/amd64"), checksums: none }));
        assert_eq!(check(&format!(" {url}\n")), Ok(PlanFiles::Reference(url.clone())));
        assert_eq!(check(&format!("{url:?}")), Ok(PlanFiles::Reference(url.clone())), "quoted twice");
        let manifest = format!(r#"{{"manifest":"https://r.example.org/m.json","sha256":"{}"}}"#, &SUM[7..]);
        assert!(matches!(check(&manifest), Ok(PlanFiles::Manifest { .. })));
        for beside in [format!("{SUM:?}"), format!(r#"{{"any":{SUM:?}}}"#), format!("{:?}", &SUM[7..])] {
            let old = format!(r#"{{"binaries":{{"any":"https://r.example.org/g"}},"checksum":{beside}}}"#);
            let Ok(PlanFiles::Binaries { urls, checksums }) = check(&old) else { panic!("{old}") };
            let sources = sources(&urls, &checksums).unwrap();
            assert_eq!(here(&sources).unwrap().given, Some(Given::Sum(SUM.parse().unwrap())), "{old}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (info, why) in [
            ("", "blank"),
            (" \n", "blank"),
            ("{}", "names no binaries"),
            (r#"{"binaries":{}}"#, "names no binaries"),
            (r#"{"binaries":["x"]}"#, "could not parse"),
            (r#"{"binaries":{"any":1}}"#, "could not parse"),
            (r#"{"binaries":"#, "could not parse"),
            ("[]", "could not parse"),
            ("nonsense", "could not parse"),
            (r#"{"binaries":{"linux amd64":"https://r.example.org/g"}}"#, "linux amd64"),
            (r#"{"binaries":{"linux/":"https://r.example.org/g"}}"#, "linux/"),
            (r#"{"binaries":{"any":"://r"}}"#, "cannot be fetched"),
            (r#"{"binaries":{"any":"https://r.example.org/g","linux/arm64":"ftp://x/g"}}"#, "linux/arm64"),
            (r#"{"binaries":{"any":"https://r.example.org/g"},"checksum":"12"}"#, "no checksum"),
            (r#"{"manifest":"https://r.example.org/m.json"}"#, "together"),
            (r#"{"manifest":"https://r.example.org/m.json","sha256":"12"}"#, "could not parse"),
            ("https://r.example.org/info.json", "without ?checksum="),
        ] {
            let error = check(info).unwrap_err();
            assert!(error.contains(why), "{info}: {error}");
        }
        let long = format!(r#"{{"binaries":{{}},"x":"{}"}}"#, "x".repeat(MAX_INFO_BYTES));
        assert!(check(&long).unwrap_err().contains("262144"));
    }

    #[test]
    fn this_platform_before_any() {
        let platform = platform();
        assert!(is_platform(&platform), "{platform}");
        let source = |name: &str| Source::parse(&format!("https://r.example.org/{name}")).unwrap();
        let mut both = BTreeMap::from([("any".to_owned(), source("any")), (platform.clone(), source("own"))]);
        assert_eq!(here(&both).unwrap().file_name(), "own");
        both.remove(&platform);
        assert_eq!(here(&both).unwrap().file_name(), "any");
        let other = BTreeMap::from([("plan9/mips".to_owned(), source("x"))]);
        let error = here(&other).unwrap_err().to_string();
        assert!(error.contains(&platform) && error.contains("plan9/mips"), "{error}");
    }
}
