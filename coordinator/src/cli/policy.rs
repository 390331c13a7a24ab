//! `policy list | show | check`: all local, no fleet is asked.
use super::error::{Exit, Failure, Outcome};
use super::output::{Format, Table, json, print, say};
use super::{Env, read_text};
use common::policy::{BUILTIN, PolicyFile, builtin};
use std::path::{Path, PathBuf};

/// Verbs on policies.
#[derive(Debug, clap::Subcommand)]
pub enum PolicyVerb {
    /// Policies that come with this program.
    List,
    /// Text of a built-in policy, to start an own one from.
    Show {
        /// Its name.
        name: String,
    },
    /// Check a policy file; every mistake is named at once.
    Check {
        /// The file.
        file: PathBuf,
    },
}

/// Runs a verb.
///
/// # Errors
/// When a policy is unknown or wrong.
pub fn run(env: &Env, verb: PolicyVerb) -> Outcome {
    match verb {
        PolicyVerb::List => {
            let names: Vec<&str> = BUILTIN.iter().map(|(name, _)| *name).collect();
            match env.format {
                Format::Json => json(&names)?,
                Format::Name => print(&names.iter().map(|n| format!("{n}\n")).collect::<String>())?,
                _ => {
                    let mut table = Table::new(&["NAME", "SAYS"]);
                    for (name, text) in BUILTIN {
                        let first = text.lines().next().unwrap_or_default().trim_start_matches(['#', ' ']);
                        table.row([name, first]);
                    }
                    print(&table.render(0))?;
                }
            }
            Ok(Exit::Done)
        }
        PolicyVerb::Show { name } => {
            let text = builtin(&name).ok_or_else(|| {
                Failure::usage(format!("no built-in policy {name:?}")).hint("`wemixfleet policy list`")
            })?;
            print(text)?;
            Ok(Exit::Done)
        }
        PolicyVerb::Check { file } => {
            let text = read_text(&file)?;
            PolicyFile::parse(&text).map_err(|e| {
                Failure::no(format!("{} is no usable policy", file.display())).because(format!("\n{e}"))
            })?;
            say(format!("{} is a usable policy", file.display()));
            Ok(Exit::Done)
        }
    }
}

/// Text and name of a policy: a built-in one by name, else a file.
///
/// # Errors
/// When it is neither, or a file with mistakes.
pub fn load(name_or_file: &str) -> Outcome<(String, String)> {
    if let Some(text) = builtin(name_or_file) {
        return Ok((name_or_file.to_owned(), text.to_owned()));
    }
    let path = Path::new(name_or_file);
    if !path.exists() {
        return Err(Failure::usage(format!("{name_or_file:?} is neither a built-in policy nor a file"))
            .hint("`wemixfleet policy list`, `wemixfleet policy show NAME >my.toml`"));
    }
    let text = read_text(path)?;
    PolicyFile::parse(&text).map_err(|e| {
        Failure::usage(format!("{name_or_file} is no usable policy")).because(format!("\n{e}"))
    })?;
    let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or("policy").to_ascii_lowercase();
    Ok((stem, text))
}
