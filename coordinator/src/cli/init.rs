//! `init`: a new coordinator and a context for whoever made it.
use super::context::{Context, save};
use super::error::{Exit, Failure, Outcome};
use super::output::{print, say};
use common::time::Span;
use coordinator::init::{InitError, InitOptions, init};
use std::path::PathBuf;

/// Flags of `init`.
#[derive(Debug, clap::Args)]
pub struct InitFlags {
    /// Directory to make; it holds the configuration and everything else.
    dir: PathBuf,
    /// Configuration to begin with; the commented sample when not given.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Life of the first admin token.
    #[arg(long, default_value = "90d")]
    token_life: Span,
    /// Name of the context that is written for you.
    #[arg(long, default_value = "default", value_name = "NAME")]
    context: String,
    /// Write no context; print the token instead.
    #[arg(long)]
    print_token: bool,
}

/// Makes the coordinator.
///
/// # Errors
/// When there is one already, or something cannot be written.
pub async fn run(flags: &InitFlags) -> Outcome {
    let text = flags.config.as_deref().map(super::read_text).transpose()?;
    let options = InitOptions { dir: flags.dir.clone(), config: text, token_life: flags.token_life };
    let made = init(&options).await.map_err(|e| {
        let exists = matches!(e, InitError::Exists(_));
        let failure = Failure::usage(format!("cannot make a fleet in {}", flags.dir.display())).because(e);
        if exists {
            failure.hint("choose another directory; an existing fleet is never overwritten")
        } else {
            failure
        }
    })?;
    let config = super::config::load(&made.config)?;
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    if flags.print_token {
        print(&format!("{}\n", made.admin_token))?;
    } else {
        // The operator on this machine reaches a listener on every address by loopback.
        let mut local = config.listen;
        if local.ip().is_unspecified() {
            local.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        let server =
            if config.public_url.is_empty() { format!("https://{local}") } else { config.public_url.clone() };
        let context = Context { server, ca: Some(absolute(&made.ca)), token: Some(made.admin_token.clone()) };
        let path = save(&flags.context, context)?;
        say(format!("context {:?} with the first admin token: {}", flags.context, path.display()));
    }
    say(format!(
        "configuration: {}\nCA: {}\nnext:\n  1. edit the configuration: network, [chain] endpoints, [trust] keys, [governance]\n  \
         2. wemixfleet serve --config {}\n  3. wemixfleet node add NAME --role rpc --ssh user@host",
        made.config.display(),
        made.ca.display(),
        made.config.display()
    ));
    Ok(Exit::Done)
}
