//! Whether what a plan names is there, without fetching it.
use super::error::FetchError;
use super::source::{Given, Source, shown};
use super::transfer::Fetcher;
use super::{PlanFiles, binaries, checksum_of, info, validate, with_suffix};
use crate::config::DownloadSettings;
use reqwest::header::{CONTENT_LENGTH, HeaderMap};
use reqwest::{Method, Url};
use tokio::time::Instant;

/// What was found at one URL of a plan.
#[derive(Debug)]
pub struct UrlCheck {
    /// The platform it is for, or `info`, `manifest`, `signatures`.
    pub what: String,
    /// The URL, without user, password and query.
    pub url: String,
    /// The size in bytes when the server says it, or what is wrong.
    pub found: Result<Option<u64>, FetchError>,
}

/// Asks for everything that a plan names, once each and for all platforms: that it is there, is not too
/// large, and has a checksum. Nothing is written.
pub async fn check_urls(settings: &DownloadSettings, files: &PlanFiles) -> Vec<UrlCheck> {
    let wrong = |what: &str, error| UrlCheck { what: what.to_owned(), url: String::new(), found: Err(error) };
    if let Err(error) = validate(files) {
        return vec![wrong("info", error.into())];
    }
    // Its end is now: nothing is tried again while a person waits for the answer.
    let mut fetcher = Fetcher::new(settings, Instant::now());
    if let PlanFiles::Manifest { url, .. } = files {
        let url = match info::source_of("manifest", url) {
            Ok(source) => source.url,
            Err(error) => return vec![wrong("manifest", error.into())],
        };
        let minisig = with_suffix(&url, ".minisig");
        return vec![
            look(&mut fetcher, settings, "manifest", &url).await,
            look(&mut fetcher, settings, "signatures", &minisig).await,
        ];
    }
    let sources = match binaries(&mut fetcher, files.clone()).await {
        Ok(sources) => sources,
        Err(error) => return vec![wrong("info", error)],
    };
    let mut checks = Vec::new();
    for (platform, source) in &sources {
        let mut check = look(&mut fetcher, settings, platform, &source.url).await;
        if check.found.is_ok()
            && let Err(error) = said(&mut fetcher, source).await
        {
            check.found = Err(error);
        }
        checks.push(check);
    }
    checks
}

async fn said(fetcher: &mut Fetcher<'_>, source: &Source) -> Result<(), FetchError> {
    match &source.given {
        Some(Given::Sum(_)) => Ok(()),
        _ => checksum_of(fetcher, source).await.map(|_| ()),
    }
}

async fn look(fetcher: &mut Fetcher<'_>, settings: &DownloadSettings, what: &str, url: &Url) -> UrlCheck {
    let found = match size(fetcher, url).await {
        Ok(Some(0)) => Err(FetchError::Empty(shown(url))),
        Ok(Some(size)) if size > settings.max_bytes => {
            Err(FetchError::TooLarge { url: shown(url), most: settings.max_bytes })
        }
        found => found,
    };
    UrlCheck { what: what.to_owned(), url: shown(url), found }
}

async fn size(fetcher: &mut Fetcher<'_>, url: &Url) -> Result<Option<u64>, FetchError> {
    let none = HeaderMap::new();
    let answer = match fetcher.requests.send(Method::HEAD, url, &none).await {
        // Not every server knows HEAD; the body of a GET is dropped unread.
        Err(FetchError::Status { status, .. }) if matches!(status.as_u16(), 405 | 501) => {
            fetcher.requests.send(Method::GET, url, &none).await?
        }
        answer => answer?,
    };
    Ok(answer.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok()))
}
