//! One URL of a plan: where, checked how, packed how.
use super::checksum::Checksum;
use reqwest::Url;

/// A URL of a plan that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{url:?} cannot be fetched: {why}")]
pub struct SourceError {
    /// The URL, without its query.
    pub url: String,
    /// What is wrong with it.
    pub why: String,
}

/// Where the checksum of a file comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// It was said.
    Sum(Checksum),
    /// It is in a checksum file at this URL.
    File(Url),
}

/// How an executable is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Raw,
    /// In a zip archive.
    Zip,
    /// In a tar archive.
    Tar,
    /// In a tar archive compressed with gzip.
    TarGz,
}

/// Suffixes of archives that are not understood, and would otherwise be taken for executables.
const OTHER_ARCHIVES: [&str; 16] = [
    ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz", ".tar.zst", ".tzst", ".tar.lz4", ".bz2", ".xz", ".zst",
    ".gz", ".7z", ".rar", ".deb", ".rpm",
];

impl Packing {
    /// By the end of a path.
    ///
    /// # Errors
    /// The suffix of an archive that is not understood.
    pub fn of_path(path: &str) -> Result<Packing, &'static str> {
        let path = path.to_ascii_lowercase();
        let ends = |suffix: &str| path.ends_with(suffix);
        if ends(".zip") {
            return Ok(Packing::Zip);
        } else if ends(".tar.gz") || ends(".tgz") {
            return Ok(Packing::TarGz);
        } else if ends(".tar") {
            return Ok(Packing::Tar);
        }
        OTHER_ARCHIVES.into_iter().find(|s| ends(s)).map_or(Ok(Packing::Raw), Err)
    }
}

/// One URL of a plan, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What is requested: `checksum` and `archive` are taken out of the query.
    pub url: Url,
    /// What was said about its checksum.
    pub given: Option<Given>,
    /// How the executable is packed.
    pub packing: Packing,
}

impl Source {
    /// Takes a URL apart, with `?checksum=` and `?archive=` as go-getter has them.
    ///
    /// # Errors
    /// [`SourceError`] when it is no http or https URL, or one of the keys has a value that is not understood.
    pub fn parse(text: &str) -> Result<Source, SourceError> {
        let mut url = web(text)?;
        let wrong = |why: String| SourceError { url: shown(&url), why };
        let (mut given, mut packing) = (None, None);
        for (key, value) in url.query_pairs() {
            match &*key {
                "checksum" if given.is_some() => return Err(wrong("it has two checksums".to_owned())),
                "checksum" => given = Some(parse_given(&value).map_err(wrong)?),
                "archive" => packing = Some(parse_archive(&value).map_err(wrong)?),
                _ => {}
            }
        }
        let packing = packing.map_or_else(|| Packing::of_path(url.path()), Ok);
        let packing = packing
            .map_err(|s| wrong(format!("{s} is not unpacked here; zip, tar.gz, tgz and tar archives are")))?;
        let ours = |pair: &&str| {
            let key = pair.split('=').next().unwrap_or_default();
            !matches!(&*percent_encoding::percent_decode_str(key).decode_utf8_lossy(), "checksum" | "archive")
        };
        let rest = url.query().unwrap_or_default().split('&').filter(ours).collect::<Vec<_>>().join("&");
        url.set_query((!rest.is_empty()).then_some(&rest));
        url.set_fragment(None);
        Ok(Source { url, given, packing })
    }

    /// The last part of its path.
    pub fn file_name(&self) -> String {
        let last = self.url.path().rsplit('/').next().unwrap_or_default();
        percent_encoding::percent_decode_str(last).decode_utf8_lossy().into_owned()
    }
}

fn web(text: &str) -> Result<Url, SourceError> {
    let wrong = |why: String| SourceError {
        url: text.split('?').next().unwrap_or_default().chars().take(200).collect(),
        why,
    };
    let url = Url::parse(text.trim()).map_err(|e| wrong(e.to_string()))?;
    match url.scheme() {
        "http" | "https" if url.host_str().is_some() => Ok(url),
        "http" | "https" => Err(wrong("it names no host".to_owned())),
        other => Err(wrong(format!("{other} is not fetched; https is"))),
    }
}

fn parse_given(value: &str) -> Result<Given, String> {
    match value.strip_prefix("file:") {
        Some(file) => web(file).map(Given::File).map_err(|e| format!("its checksum file: {e}")),
        None => value.parse().map(Given::Sum).map_err(|e| format!("{e}")),
    }
}

fn parse_archive(value: &str) -> Result<Packing, String> {
    match value {
        "" | "false" | "0" => Ok(Packing::Raw),
        "zip" => Ok(Packing::Zip),
        "tar" => Ok(Packing::Tar),
        "tar.gz" | "tgz" => Ok(Packing::TarGz),
        other => Err(format!("archive={other:?} is not unpacked here; zip, tar.gz, tgz and tar are")),
    }
}

/// A URL for logs and errors: without user, password and query, which may hold secrets.
pub fn shown(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|p| format!(":{p}")).unwrap_or_default();
    format!("{}://{host}{port}{}", url.scheme(), url.path())
}

#[cfg(test)]
mod tests {
    use super::super::checksum::Algorithm;
    use super::*;

    #[test]
    fn keys_are_taken_out_and_the_rest_stays() {
        let sum = Algorithm::Sha256.of(b"x");
        let hex = sum.to_string().split_off("sha256:".len());
        for form in [format!("sha256:{hex}"), format!("sha256%3A{hex}"), hex] {
            let text = format!("https://r.example.org/a%20b/geth?token=a%2Fb&checksum={form}&v=1#part");
            let source = Source::parse(&text).unwrap();
            assert_eq!(source.url.as_str(), "https://r.example.org/a%20b/geth?token=a%2Fb&v=1");
            assert_eq!(source.given, Some(Given::Sum(sum.clone())));
            assert_eq!((source.packing, source.file_name().as_str()), (Packing::Raw, "geth"));
            assert_eq!(shown(&source.url), "https://r.example.org/a%20b/geth");
        }
        let text = "https://r.example.org/geth?checksum=file:https://r.example.org/SHA256SUMS";
        let file = Url::parse("https://r.example.org/SHA256SUMS").unwrap();
        assert_eq!(Source::parse(text).unwrap().given, Some(Given::File(file)));
        assert_eq!(Source::parse("https://r.example.org/geth").unwrap().given, None);
    }

    #[test]
    fn packing_by_suffix_or_query() {
        for (path, packing) in [
            ("geth", Packing::Raw),
            ("geth-1.2.3", Packing::Raw),
            ("geth.ZIP", Packing::Zip),
            ("geth.tar.gz", Packing::TarGz),
            ("geth.tgz", Packing::TarGz),
            ("geth.tar", Packing::Tar),
            ("geth?archive=zip", Packing::Zip),
            ("geth.zip?archive=false", Packing::Raw),
            ("geth.xz?archive=tgz", Packing::TarGz),
        ] {
            let source = Source::parse(&format!("https://r.example.org/{path}")).unwrap();
            assert_eq!(source.packing, packing, "{path}");
            assert_eq!(source.url.query(), None, "{path}");
        }
        for suffix in OTHER_ARCHIVES {
            let error = Source::parse(&format!("https://r.example.org/geth{suffix}")).unwrap_err();
            assert!(error.why.contains(suffix), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_fetched() {
        for (bad, why) in [
            ("", "relative URL"),
            ("nonsense", "relative URL"),
            ("ftp://r.example.org/geth", "ftp is not fetched"),
            ("file:///bin/sh", "file is not fetched"),
            ("git::https://r.example.org/geth", "is not fetched"),
            ("https://r.example.org/geth?archive=tar.xz", "archive="),
            ("https://r.example.org/geth?checksum=", "no checksum"),
            ("https://r.example.org/geth?checksum=sha256:12", "no checksum"),
            ("https://r.example.org/geth?checksum=file:/etc/passwd", "its checksum file"),
        ] {
            let error = Source::parse(bad).unwrap_err();
            assert!(error.to_string().contains(why), "{bad}: {error}");
        }
        let twice = "checksum=900150983cd24fb0d6963f7d28e17f72";
        let error = Source::parse(&format!("https://r.example.org/g?{twice}&{twice}")).unwrap_err();
        assert!(error.why.contains("two checksums"), "{error}");
        let secret = Source::parse("https://u:pw@r.example.org/g?token=pw&checksum=1").unwrap_err();
        assert!(!secret.to_string().contains("pw"), "{secret}");
    }
}
