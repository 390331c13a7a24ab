//! `wemixvisor upgrade schedule`.
use super::Host;
use super::add::Executable;
use crate::host::fetch::{PlanFiles, parse_info, platform, validate};
use crate::plan::{Plan, Source, binary, height_of, in_home, schedule};
use anyhow::Context;
use clap::Args;
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::process::ExitCode;

/// Plans an upgrade of this host.
#[derive(Debug, Args)]
pub(super) struct Schedule {
    /// Name of the upgrade
    #[arg(value_name = "UPGRADE")]
    title: String,
    /// First height under the new release, or `now`
    #[arg(allow_hyphen_values = true)]
    height: String,
    /// The chain client's new executable, copied into the home
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// What the plan says of its release: JSON, or the address of such JSON
    #[arg(long, value_name = "JSON")]
    info: Option<String>,
    /// Addresses of its executable by platform, as {"linux/amd64": "https://…"}
    #[arg(long, value_name = "JSON")]
    binaries: Option<String>,
    /// Checksum of its executable
    #[arg(long, value_name = "CHECKSUM")]
    checksum: Option<String>,
}

impl Schedule {
    /// Does what was asked. Nothing that is planned already is written over.
    pub(super) fn run(&self, host: &Host) -> anyhow::Result<ExitCode> {
        let plan = self.plan(host)?;
        let there = ensure_free(host, &plan)?;
        let executable = match &self.binary {
            Some(file) => Some(Executable::look(host, &plan.name, file, false)?),
            None => None,
        };
        match &executable {
            Some(executable) => executable.put()?,
            None => ensure_there(host, &plan)?,
        }
        if there {
            eprintln!("{} {} is scheduled already", plan.title, super::when(&plan));
        } else {
            schedule(&host.home, &plan)?;
        }
        println!("{} {} {}", host.home.schedule().display(), plan.title, super::when(&plan));
        host.say_if_not_followed();
        Ok(ExitCode::SUCCESS)
    }

    fn plan(&self, host: &Host) -> anyhow::Result<Plan> {
        let (title, name) = in_home(&host.home, &self.title, host.settings.upgrade.recase)?;
        let height =
            match self.height.as_str() {
                "now" => None,
                text => Some(height_of(text).with_context(|| {
                    format!("the height {text:?} is invalid: a number or `now` is expected")
                })?),
            };
        Ok(Plan { title, name, height, info: self.info()?, source: Source::Schedule })
    }

    /// `--info`, with `--binaries` and `--checksum` as its keys.
    fn info(&self) -> anyhow::Result<String> {
        let info = self.info.as_deref().map(str::trim).filter(|text| !text.is_empty());
        let mut object = match info {
            Some(text) if text.starts_with('{') => {
                serde_json::from_str::<Map<String, Value>>(text).context("--info is no JSON")?
            }
            Some(text) if self.binaries.is_none() && self.checksum.is_none() => return Ok(text.to_owned()),
            Some(_) => anyhow::bail!("--info must be a JSON object where --binaries or --checksum are given"),
            None => Map::new(),
        };
        if let Some(text) = &self.binaries {
            let binaries: Map<String, Value> =
                serde_json::from_str(text).context("--binaries is no JSON object")?;
            anyhow::ensure!(
                !binaries.is_empty() && binaries.values().all(Value::is_string),
                "--binaries must name an address for each platform, as {{\"linux/amd64\": \"https://…\"}}"
            );
            object.insert("binaries".to_owned(), binaries.into());
        }
        if let Some(checksum) = &self.checksum {
            object.insert("checksum".to_owned(), checksum.clone().into());
        }
        Ok(if object.is_empty() { String::new() } else { Value::Object(object).to_string() })
    }
}

/// Refuses a plan that another one stands in the way of. Whether the very same one is scheduled already.
fn ensure_free(host: &Host, plan: &Plan) -> anyhow::Result<bool> {
    anyhow::ensure!(!host.applied.is(plan), "{} is what runs; there is nothing to schedule", plan.title);
    if let Some(height) = plan.height {
        // A list is answered by what was applied at the same height.
        host.ensure_it_counts(&plan.title, height, host.applied.height.map_or(0, |last| last + 1))?;
    }
    for other in host.queue.plans.iter().filter(|other| !host.applied.is(other)) {
        if other == plan {
            return Ok(true);
        }
        // What is planned for later may be wanted now.
        let sooner = plan.height.is_none() && other.height.is_some();
        let same_height = plan.height.is_some() && plan.height == other.height;
        anyhow::ensure!(
            !(same_height || plan.name == other.name && !sooner),
            "{} is planned {} by the {} already; `wemixvisor upgrade cancel {}` takes it back",
            other.title,
            super::when(other),
            other.source,
            other.title
        );
    }
    Ok(false)
}

/// A plan without an executable that is there or can be fetched would leave the node without its upgrade.
pub(super) fn ensure_there(host: &Host, plan: &Plan) -> anyhow::Result<()> {
    let target = host.home.binary(&plan.name);
    if binary::is_there(&target) {
        return Ok(());
    }
    let named = !plan.info.trim().is_empty();
    if let Err(why) = fetchable(&plan.info) {
        let title = &plan.title;
        let why = if named { why } else { "the plan does not say where to fetch it".to_owned() };
        anyhow::bail!(
            "there is no executable {}: {why}; `wemixvisor add-upgrade {title} FILE` adds it",
            target.display()
        );
    }
    anyhow::ensure!(
        host.settings.download.allowed,
        "there is no executable {} and downloads are not allowed; set [download] allowed, \
         or `wemixvisor add-upgrade {} FILE`",
        target.display(),
        plan.title
    );
    Ok(())
}

/// Whether a plan says where its executable for this platform is: in itself, in a signed manifest, or at an
/// address.
fn fetchable(info: &str) -> Result<(), String> {
    let files =
        parse_info(info).and_then(|files| validate(&files).map(|()| files)).map_err(|e| e.to_string())?;
    match files {
        PlanFiles::Binaries { urls, .. } if !urls.contains_key(&platform()) && !urls.contains_key("any") => {
            Err(format!("the plan names no executable for {}", platform()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_an_executable_can_be_fetched() {
        let of = |platform: &str| format!(r#"{{"binaries":{{"{platform}":"https://a/b"}}}}"#);
        assert!(fetchable(&of(&platform())).is_ok() && fetchable(&of("any")).is_ok());
        let manifest = r#"{"manifest":"https://a/b","sha256":"0000000000000000000000000000000000000000000000000000000000000000"}"#;
        assert_eq!(fetchable(manifest), Ok(()));
        let reference = format!("https://example.org/plan.json?checksum=sha256:{}", "00".repeat(32));
        assert_eq!(fetchable(&reference), Ok(()));
        for info in ["", "{}", "text", &of("plan9/mips"), r#"{"binaries":{"any":5}}"#, r#"{"binaries":[]}"#] {
            assert!(fetchable(info).is_err(), "{info}");
        }
    }
}
