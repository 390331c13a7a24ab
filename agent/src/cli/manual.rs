//! `wemixvisor completions` and `wemixvisor man`.
use anyhow::Context;
use clap::{Args, CommandFactory};
use std::path::PathBuf;
use std::process::ExitCode;

/// Prints the completions of a shell.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    shell: clap_complete::Shell,
}

/// Prints the manual page, or writes one for every command.
#[derive(Debug, Args)]
pub struct Man {
    /// Write a page for every command into this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Completions {
    /// To standard output.
    pub fn run(&self) -> ExitCode {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut super::Cli::command(), "wemixvisor", &mut text);
        print!("{}", String::from_utf8_lossy(&text));
        ExitCode::SUCCESS
    }
}

impl Man {
    /// To standard output or into a folder.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let command = super::Cli::command();
        match &self.out {
            Some(folder) => {
                std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
                clap_mangen::generate_to(command, folder)
                    .with_context(|| format!("writing pages to {}", folder.display()))?;
            }
            None => {
                let mut text = Vec::new();
                clap_mangen::Man::new(command).render(&mut text).context("rendering the page")?;
                print!("{}", String::from_utf8_lossy(&text));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
