//! The agent's own log: where it goes, its form, and a filter that can change while it runs.
use crate::config::{LogFormat, LogSettings};
use anyhow::Context;
use std::fmt;
use std::io::IsTerminal;
use std::sync::OnceLock;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::{Rfc2822, Rfc3339};
use time::macros::format_description as form;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

/// Changes the filter of the running agent.
static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Begins to log to standard error.
///
/// # Errors
/// When the filter cannot be read.
pub fn begin(settings: &LogSettings) -> anyhow::Result<()> {
    let (filter, handle) = reload::Layer::new(targets(&settings.filter)?);
    let ansi = settings.color.unwrap_or(true)
        && std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none();
    let plain =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(ansi).with_target(false);
    let layer = match (settings.format, settings.time.is_empty()) {
        (LogFormat::Json, _) => plain.json().with_timer(Clock(settings.time.clone())).boxed(),
        (LogFormat::Text, true) => plain.without_time().boxed(),
        (LogFormat::Text, false) => plain.with_timer(Clock(settings.time.clone())).boxed(),
    };
    // The filter is a layer of its own, below: what it lets through reaches the writer.
    tracing_subscriber::registry().with(filter).with(layer).init();
    let _ = FILTER.set(handle);
    Ok(())
}

/// Uses another filter from now on.
///
/// # Errors
/// When the filter cannot be read; the former one stays.
pub fn change(filter: &str) -> anyhow::Result<()> {
    let targets = targets(filter)?;
    match FILTER.get() {
        Some(handle) => handle.modify(|f| *f = targets).context("changing the log filter"),
        None => Ok(()),
    }
}

/// Reads a filter: a level, or pairs of module and level.
///
/// # Errors
/// When it is none.
pub fn targets(filter: &str) -> anyhow::Result<Targets> {
    let known = |part: &str| part.contains('=') || part.trim().parse::<LevelFilter>().is_ok();
    let parsed = filter.split(',').all(known).then(|| filter.parse().ok()).flatten();
    parsed.with_context(|| {
        format!("{filter:?} is no log filter: a level, or pairs of module=level with commas between")
    })
}

/// Times of the log, under the names that Go and cosmovisor gave their forms.
struct Clock(String);

impl FormatTime for Clock {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        w.write_str(&render(&self.0, OffsetDateTime::now_utc()))
    }
}

/// A form that is not known is written as RFC 3339; the settings refuse it before.
fn render(name: &str, now: OffsetDateTime) -> String {
    let date = |items: &[BorrowedFormatItem<'_>]| now.format(items).unwrap_or_default();
    match name {
        "kitchen" => date(form!("[hour repr:12 padding:none]:[minute][period]")),
        "layout" => {
            date(form!("[month]/[day] [hour repr:12]:[minute]:[second][period] '[year repr:last_two] +0000"))
        }
        "ansic" => date(form!(
            "[weekday repr:short] [month repr:short] [day padding:space] [hour]:[minute]:[second] [year]"
        )),
        "unixdate" => date(form!(
            "[weekday repr:short] [month repr:short] [day padding:space] [hour]:[minute]:[second] UTC [year]"
        )),
        "rubydate" => {
            date(form!("[weekday repr:short] [month repr:short] [day] [hour]:[minute]:[second] +0000 [year]"))
        }
        "rfc822" => date(form!("[day] [month repr:short] [year repr:last_two] [hour]:[minute] UTC")),
        "rfc822z" => date(form!("[day] [month repr:short] [year repr:last_two] [hour]:[minute] +0000")),
        "rfc850" => date(form!(
            "[weekday], [day]-[month repr:short]-[year repr:last_two] [hour]:[minute]:[second] UTC"
        )),
        "rfc1123" => {
            date(form!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] UTC"))
        }
        "rfc1123z" => now.format(&Rfc2822).unwrap_or_default(),
        "rfc3339nano" => now.format(&Rfc3339).unwrap_or_default(),
        _ => date(form!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn times_have_the_forms_of_their_names() {
        let at = datetime!(2026-01-02 15:04:05.125 UTC);
        for (name, text) in [
            ("kitchen", "3:04PM"),
            ("layout", "01/02 03:04:05PM '26 +0000"),
            ("ansic", "Fri Jan  2 15:04:05 2026"),
            ("unixdate", "Fri Jan  2 15:04:05 UTC 2026"),
            ("rubydate", "Fri Jan 02 15:04:05 +0000 2026"),
            ("rfc822", "02 Jan 26 15:04 UTC"),
            ("rfc822z", "02 Jan 26 15:04 +0000"),
            ("rfc850", "Friday, 02-Jan-26 15:04:05 UTC"),
            ("rfc1123", "Fri, 02 Jan 2026 15:04:05 UTC"),
            ("rfc1123z", "Fri, 02 Jan 2026 15:04:05 +0000"),
            ("rfc3339", "2026-01-02T15:04:05.125Z"),
            ("rfc3339nano", "2026-01-02T15:04:05.125Z"),
        ] {
            assert_eq!(render(name, at), text, "{name}");
        }
    }

    #[test]
    fn filters_are_levels_and_modules() {
        assert!(targets("info").is_ok() && targets("off").is_ok() && targets("debug,hyper=info").is_ok());
        assert!(targets("loud").is_err());
    }
}
