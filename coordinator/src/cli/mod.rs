//! The operator's command line: noun, then verb. Data goes to standard output, talk to standard error.
mod chain;
mod client;
mod config;
mod context;
mod doctor;
pub mod error;
pub mod escape;
mod init;
mod install;
mod key;
mod node;
pub mod output;
mod policy;
mod proposal;
mod reasons;
mod release;
mod rollout;
mod serve;
mod show;
mod status;
mod time;
mod token;
mod watch;

use clap::{CommandFactory as _, Parser, Subcommand};
use client::Client;
use context::ServerFlags;
use error::{Exit, Failure, Outcome};
use output::Format;

/// Keeps a fleet of blockchain nodes running and upgrades it without taking consensus below quorum.
#[derive(Debug, Parser)]
#[command(name = "wemixfleet", version, propagate_version = true, max_term_width = 110)]
#[command(
    after_help = "Exit codes: 0 done, 1 the fleet says no, 2 usage or could not ask, 3 partly, 5 refused by a safety rule, 124 waited too long."
)]
struct Arguments {
    #[command(flatten)]
    server: ServerFlags,
    /// How data is printed.
    #[arg(short, long, global = true, value_enum, default_value = "table")]
    output: Format,
    #[command(subcommand)]
    noun: Noun,
}

#[derive(Debug, Subcommand)]
enum Noun {
    /// Make a fleet: data directory, CA, configuration, first admin token.
    Init(init::InitFlags),
    /// Run the coordinator.
    Serve(serve::ServeFlags),
    /// Register, install and look at nodes.
    #[command(subcommand)]
    Node(node::NodeVerb),
    /// Sign, add and look at releases.
    #[command(subcommand)]
    Release(release::ReleaseVerb),
    /// Upgrade plans from governance.
    #[command(subcommand)]
    Proposal(proposal::ProposalVerb),
    /// Rollout policies.
    #[command(subcommand)]
    Policy(policy::PolicyVerb),
    /// Plan, run and watch rollouts.
    #[command(subcommand)]
    Rollout(rollout::RolloutVerb),
    /// The chain as the coordinator sees it.
    #[command(subcommand)]
    Chain(chain::ChainVerb),
    /// Operators' tokens.
    #[command(subcommand)]
    Token(token::TokenVerb),
    /// Check clock, disk, certificates, RPC agreement, store and versions.
    Doctor(doctor::DoctorFlags),
    /// The coordinator's configuration.
    #[command(subcommand)]
    Config(config::ConfigVerb),
    /// Completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// The version.
    Version,
}

/// What every command has at hand.
pub struct Env {
    server: ServerFlags,
    /// How data is printed.
    pub format: Format,
}

impl Env {
    /// A client for the fleet that flags, environment and contexts name.
    ///
    /// # Errors
    /// When no fleet is named or the client cannot be prepared.
    pub fn client(&self) -> Outcome<Client> {
        Client::new(&self.server.resolve()?)
    }
}

/// Reads the arguments, runs the command and prints its error; the exit code.
pub fn run() -> i32 {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            output::say(format!("error: cannot start the runtime: {e}"));
            return Exit::Usage as i32;
        }
    };
    let ended = runtime.block_on(dispatch(arguments));
    runtime.shutdown_background();
    match ended {
        Ok(exit) => exit as i32,
        Err(failure) => {
            output::say(failure.to_string());
            failure.exit as i32
        }
    }
}

async fn dispatch(arguments: Arguments) -> Outcome {
    let env = Env { server: arguments.server, format: arguments.output };
    match arguments.noun {
        Noun::Init(flags) => init::run(&flags).await,
        Noun::Serve(flags) => serve::run(&flags).await,
        Noun::Node(verb) => node::run(&env, verb).await,
        Noun::Release(verb) => release::run(&env, verb).await,
        Noun::Proposal(verb) => proposal::run(&env, verb).await,
        Noun::Policy(verb) => policy::run(&env, verb),
        Noun::Rollout(verb) => rollout::run(&env, verb).await,
        Noun::Chain(verb) => chain::run(&env, verb).await,
        Noun::Token(verb) => token::run(&env, verb).await,
        Noun::Doctor(flags) => doctor::run(&env, &flags).await,
        Noun::Config(verb) => config::run(&env, verb),
        Noun::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "wemixfleet", &mut text);
            output::print(&String::from_utf8_lossy(&text))?;
            Ok(Exit::Done)
        }
        Noun::Version => {
            output::print(concat!("wemixfleet ", env!("CARGO_PKG_VERSION"), "\n"))?;
            Ok(Exit::Done)
        }
    }
}

/// Reads a text file.
///
/// # Errors
/// A [`Failure`] that names the file.
pub fn read_text(path: &std::path::Path) -> Outcome<String> {
    std::fs::read_to_string(path)
        .map_err(|e| Failure::usage(format!("cannot read {}", path.display())).because(e))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_arguments_make_sense() {
        use clap::CommandFactory as _;
        super::Arguments::command().debug_assert();
    }
}
