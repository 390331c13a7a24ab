//! `wemixvisor init`.
use crate::config::{SAMPLE, Settings};
use crate::home::GENESIS;
use crate::host::files;
use anyhow::Context;
use clap::Args;
use common::id::ReleaseName;
use common::release::{Digest, InstalledRelease};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::PathBuf;
use std::process::ExitCode;

/// Makes a home around an executable.
#[derive(Debug, Args)]
pub struct Init {
    /// The chain client's executable
    executable: PathBuf,
}

impl Init {
    /// Copies the executable, links `current`, writes the sample settings; what is there is kept.
    pub fn run(&self, settings: &Settings) -> anyhow::Result<ExitCode> {
        let home = settings.layout();
        let genesis = ReleaseName::new(GENESIS)?;
        let binary = home.binary(&genesis);
        let bytes = std::fs::read(&self.executable)
            .with_context(|| format!("reading {}", self.executable.display()))?;
        anyhow::ensure!(!bytes.is_empty(), "{} is empty", self.executable.display());
        let folder = binary.parent().context("a binary is in a folder")?;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(folder)
            .with_context(|| format!("making {}", folder.display()))?;
        if binary.exists() {
            println!("{} is there and kept", binary.display());
        } else {
            files::replace(&binary, &bytes, 0o755)
                .with_context(|| format!("writing {}", binary.display()))?;
            std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755))?;
            println!("{} sha256 {}", binary.display(), Digest::of(&bytes));
        }
        if home.current().symlink_metadata().is_err() {
            let release = InstalledRelease { name: genesis, sequence: 0, digest: Digest::of(&bytes) };
            crate::host::switch::switch(&home, &release).map_err(|f| anyhow::anyhow!(f.detail))?;
            println!("{} -> {GENESIS}", home.current().display());
        }
        if home.config().exists() {
            println!("{} is there and kept", home.config().display());
        } else {
            files::replace(&home.config(), SAMPLE.as_bytes(), 0o640)
                .with_context(|| format!("writing {}", home.config().display()))?;
            println!("{}", home.config().display());
        }
        Ok(ExitCode::SUCCESS)
    }
}
