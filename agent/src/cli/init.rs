//! `wemixvisor init`.
use super::{Place, env};
use crate::config::{SAMPLE, Settings, Template, home_of};
use crate::home::{GENESIS, Home};
use crate::host::files;
use crate::plan::Applied;
use crate::plan::binary::{self, BinaryError, Place as At};
use anyhow::Context;
use clap::{Args, ValueEnum};
use common::id::ReleaseName;
use common::release::{Digest, InstalledRelease};
use std::ffi::OsString;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::ExitCode;

/// Makes a home around an executable.
#[derive(Debug, Args)]
pub struct Init {
    /// The chain client's executable
    executable: Option<OsString>,
    /// Replace another executable that is there
    #[arg(long)]
    force: bool,
    /// Settings to begin with: mainnet, testnet, devnet, validator, rpc, archive, or a file of your own
    #[arg(long, value_name = "NAME")]
    template: Option<String>,
    /// The supervisor's folder in the home [default: the one that is there, else wemixvisor]
    #[arg(long, value_enum)]
    folder: Option<Folder>,
}

/// The supervisor's folder in a home.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Folder {
    Wemixvisor,
    Cosmovisor,
}

impl Folder {
    fn name(self) -> &'static str {
        match self {
            Folder::Wemixvisor => "wemixvisor",
            Folder::Cosmovisor => "cosmovisor",
        }
    }

    fn other(self) -> Folder {
        match self {
            Folder::Wemixvisor => Folder::Cosmovisor,
            Folder::Cosmovisor => Folder::Wemixvisor,
        }
    }
}

impl Init {
    /// Copies the executable, links `current`, makes the data folder, writes the sample settings; what is
    /// there is kept. Everything that can be refused is looked at before anything is written.
    pub fn run(&self, place: &Place) -> anyhow::Result<ExitCode> {
        let (settings, executable) = self.checked(place)?;
        let home = self.home(place, &settings)?;
        let genesis = ReleaseName::new(GENESIS)?;
        let target = home.binary(&genesis);
        let at = binary::look(executable, &target)?;
        let data = &settings.node.data_dir;
        anyhow::ensure!(
            data.is_dir() || data.symlink_metadata().is_err(),
            BinaryError::InTheWay(data.clone())
        );
        let links = links(&home)?;
        let text = match &self.template {
            Some(name) => Template::find(name, &home.root().join("templates"))?.text,
            None => SAMPLE.to_owned(),
        };
        for folder in [home.root(), data] {
            make_folder(folder)?;
        }
        let digest = self.put(executable, &target, at)?;
        if links {
            let release = InstalledRelease { name: genesis, sequence: 0, digest };
            crate::host::switch::switch(&home, &release).map_err(|f| anyhow::anyhow!(f.detail))?;
            println!("{} -> {GENESIS}", home.current().display());
        }
        if home.config().exists() {
            println!("{} is there and kept", home.config().display());
        } else {
            files::replace(&home.config(), text.as_bytes(), 0o640)
                .with_context(|| format!("writing {}", home.config().display()))?;
            println!("{}", home.config().display());
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The settings and the executable, or everything that is wrong with them at once.
    fn checked(&self, place: &Place) -> anyhow::Result<(Settings, &Path)> {
        let mut wrong = Vec::new();
        let named = self.executable.as_deref().filter(|path| !path.is_empty()).map(Path::new);
        let executable =
            named.ok_or(BinaryError::Unnamed).and_then(|path| binary::check(path).map(|()| path));
        let settings = place.settings();
        if let Err(error) = &executable {
            wrong.push(error.to_string());
        }
        if let Err(error) = &settings {
            wrong.extend(missing(place).unwrap_or_else(|| vec![error.to_string()]));
        }
        match (settings, executable) {
            (Ok(settings), Ok(executable)) => Ok((settings, executable)),
            _ => anyhow::bail!("{}", wrong.join("\n")),
        }
    }

    fn home(&self, place: &Place, settings: &Settings) -> anyhow::Result<Home> {
        let (base, daemon) = (&settings.node.home, &settings.node.name);
        let is_there = |folder: Folder| base.join(folder.name()).is_dir();
        let folder = match self.folder {
            Some(folder) => {
                // Two of them: the one that is there would be forgotten, or the new one never looked at.
                anyhow::ensure!(
                    !is_there(folder.other()) || is_there(folder) && folder == Folder::Wemixvisor,
                    "{} is there already; a home has one supervisor's folder, move it away first",
                    base.join(folder.other().name()).display()
                );
                folder
            }
            None if is_there(Folder::Wemixvisor) || is_there(Folder::Cosmovisor) => {
                return Ok(settings.layout());
            }
            None if place.as_cosmovisor => Folder::Cosmovisor,
            None => Folder::Wemixvisor,
        };
        Ok(Home::in_folder(base.clone(), daemon.clone(), folder.name()))
    }

    fn put(&self, executable: &Path, target: &Path, at: At) -> anyhow::Result<Digest> {
        let digest = match at {
            At::Same(digest) => {
                binary::allow(target)?;
                println!("{} is there and kept", target.display());
                return Ok(digest);
            }
            At::Other(digest) if !self.force => {
                binary::allow(target)?;
                println!("{} is there and kept", target.display());
                eprintln!(
                    "note: it has sha256 {digest}, other bytes than {}; --force replaces it",
                    executable.display()
                );
                return Ok(digest);
            }
            At::Free | At::Other(_) => binary::copy(executable, target)?,
        };
        println!("{} sha256 {digest}", target.display());
        Ok(digest)
    }
}

/// What of home and name is missing or wrong, in the words of the variables; `None` when it is something else.
fn missing(place: &Place) -> Option<Vec<String>> {
    let flags = place.flags();
    if flags.config.is_some() || env("WEMIXVISOR_CONFIG").is_some_and(|path| !path.is_empty()) {
        return None;
    }
    let mut wrong = Vec::new();
    let named = ["WEMIXVISOR_NAME", "DAEMON_NAME"].iter().filter_map(|key| env(key)).any(|v| !v.is_empty());
    if !named && flags.name.is_none() {
        wrong.push("DAEMON_NAME is not set: the file name of the chain client, or --name".to_owned());
    }
    match home_of(&flags, &env).filter(|home| !home.as_os_str().is_empty()) {
        None => wrong.push("DAEMON_HOME is not set: the folder of the node, or --home".to_owned()),
        Some(home) if !home.is_absolute() => {
            wrong.push(format!("DAEMON_HOME must be an absolute path, not {}", home.display()));
        }
        Some(_) => {}
    }
    Some(wrong).filter(|wrong| !wrong.is_empty())
}

/// Whether `current` is to be made. It is never pointed elsewhere, and never at the first release when a
/// later one was applied: its data may be beyond what the first one can read.
fn links(home: &Home) -> anyhow::Result<bool> {
    let current = home.current();
    match current.symlink_metadata() {
        Ok(found) if found.is_symlink() => {
            println!("{} is there and kept", current.display());
            Ok(false)
        }
        Ok(_) => anyhow::bail!(
            "symlink genesis current: file exists: {} is no link; move it away",
            current.display()
        ),
        Err(_) => {
            let earlier = Applied::read(home).earlier;
            let names: Vec<&str> = earlier.iter().map(ReleaseName::as_str).collect();
            anyhow::ensure!(
                names.is_empty(),
                "{} is missing, and upgrades were applied in this home ({}): link it to the one that is to \
                 run, as in `ln -s upgrades/{} {}`",
                current.display(),
                names.join(", "),
                names.last().unwrap_or(&""),
                current.display()
            );
            Ok(true)
        }
    }
}

fn make_folder(folder: &Path) -> anyhow::Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o750).create(folder);
    made.with_context(|| format!("making {}", folder.display()))
}
