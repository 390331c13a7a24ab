//! `token create | list | revoke`.
use super::Env;
use super::error::{Exit, Outcome};
use super::output::{Format, Table, json, print, say};
use super::time::utc;
use common::time::Span;
use coordinator::api::body::{CreatedToken, NewToken, TokenList};
use coordinator::auth::OperatorRole;

/// Verbs on operators' tokens.
#[derive(Debug, clap::Subcommand)]
pub enum TokenVerb {
    /// Make a token. It is printed once and stored hashed.
    Create {
        /// Whose it is.
        name: String,
        /// What it may do.
        #[arg(long)]
        role: OperatorRole,
        /// For how long.
        #[arg(long, default_value = "30d")]
        ttl: Span,
    },
    /// Tokens that exist; never the tokens themselves.
    List,
    /// Take a token back.
    Revoke {
        /// Its id, from `token list`.
        id: String,
    },
}

/// Runs a verb.
///
/// # Errors
/// When the coordinator cannot be asked or says no.
pub async fn run(env: &Env, verb: TokenVerb) -> Outcome {
    let client = env.client()?;
    match verb {
        TokenVerb::Create { name, role, ttl } => {
            let made: CreatedToken = client.post("/v1/tokens", &NewToken { name, role, ttl }).await?;
            if env.format == Format::Json {
                json(&made)?;
            } else {
                print(&format!("{}\n", made.token))?;
                say("this token is shown once; give it by WEMIXFLEET_TOKEN, --token-file or a context");
            }
        }
        TokenVerb::List => {
            let list: TokenList = client.get("/v1/tokens").await?;
            if env.format == Format::Json {
                json(&list)?;
                return Ok(Exit::Done);
            }
            let mut table = Table::new(&["ID", "NAME", "ROLE", "EXPIRES"]);
            for token in &list.tokens {
                table.row([
                    token.id.to_string(),
                    token.name.clone(),
                    token.role.to_string(),
                    utc(token.expires_at),
                ]);
            }
            print(&table.render(0))?;
        }
        TokenVerb::Revoke { id } => {
            client.delete(&format!("/v1/tokens/{}", super::show::segment(&id)?)).await?;
            say(format!("token {id} is revoked"));
        }
    }
    Ok(Exit::Done)
}
