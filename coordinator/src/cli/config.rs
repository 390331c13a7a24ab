//! `config show | validate`.
use super::Env;
use super::error::{Exit, Failure, Outcome};
use super::output::{Format, json, print, say};
use coordinator::config::Config;
use std::path::{Path, PathBuf};

/// Verbs on the coordinator's configuration.
#[derive(Debug, clap::Subcommand)]
pub enum ConfigVerb {
    /// The configuration as the coordinator would use it: file, environment and defaults together.
    Show {
        /// The file.
        #[arg(long, env = "WEMIXFLEET_CONFIG", value_name = "FILE")]
        config: PathBuf,
    },
    /// Check a configuration; every mistake is named at once.
    Validate {
        /// The file.
        #[arg(long, env = "WEMIXFLEET_CONFIG", value_name = "FILE")]
        config: PathBuf,
    },
}

/// Runs a verb.
///
/// # Errors
/// When the configuration cannot be used.
pub fn run(env: &Env, verb: ConfigVerb) -> Outcome {
    match verb {
        ConfigVerb::Show { config } => {
            let config = load(&config)?;
            if env.format == Format::Json {
                json(&config)?;
            } else {
                let text = toml::to_string_pretty(&config)
                    .map_err(|e| Failure::usage("cannot write the configuration").because(e))?;
                print(&text)?;
            }
        }
        ConfigVerb::Validate { config } => {
            load(&config)?;
            say(format!("{} can be used", config.display()));
        }
    }
    Ok(Exit::Done)
}

/// Reads and checks a configuration.
///
/// # Errors
/// Names every mistake.
pub fn load(path: &Path) -> Outcome<Config> {
    Config::load(path).map_err(|e| Failure::usage(format!("cannot use {}", path.display())).because(e))
}
