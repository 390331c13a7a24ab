//! `wemixvisor version`.
use super::{Place, exec};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::process::{Command, ExitCode, Stdio};

/// Prints the version.
#[derive(Debug, Args)]
pub struct Version {
    /// Only the supervisor's, not the node's
    #[arg(long, alias = "cosmovisor-only")]
    agent_only: bool,
    /// Form of the output
    #[arg(long, short, value_enum, default_value = "text")]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

impl Version {
    /// The supervisor's version, and what the current release says of its own.
    pub fn run(&self, place: &Place) -> anyhow::Result<ExitCode> {
        let own = env!("CARGO_PKG_VERSION");
        if self.output == Output::Json {
            let key = if place.as_cosmovisor { "cosmovisor_version" } else { "wemixvisor_version" };
            let mut out = json!({key: own});
            if !self.agent_only {
                out["app_version"] = client(place, &["version"]).map_or(Value::Null, Value::from);
            }
            println!("{out}");
            return Ok(ExitCode::SUCCESS);
        }
        println!("wemixvisor {own}");
        if place.as_cosmovisor {
            println!("cosmovisor version: {own} (wemixvisor)");
        }
        if !self.agent_only {
            match client(place, &["version"]) {
                Ok(text) => print!("{text}"),
                // Without a home it is the supervisor alone that was asked.
                Err(why) if place.as_cosmovisor => anyhow::bail!(why),
                Err(_) => {}
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn client(place: &Place, args: &[&str]) -> Result<String, String> {
    let settings = place.settings().map_err(|e| format!("{e:#}"))?;
    let binary = exec::current_binary(&settings.layout()).map_err(|e| format!("{e:#}"))?;
    let output = Command::new(&binary).args(args).stdin(Stdio::null()).output();
    let output = output.map_err(|e| format!("{}: {e}", binary.display()))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("`{} version` ended with {}", binary.display(), output.status))
    }
}
