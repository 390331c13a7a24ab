//! `wemixvisor config`.
use super::{Place, env};
use crate::config::{
    Edit, Flags, Form, Loaded, Reload, SettingsError, ShowForm, Source, Template, edit, files_of, home_of,
    listing, migrate, show, templates, unknown_variables,
};
use crate::home::Home;
use crate::host::files;
use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Mode of a settings file that is new.
const MODE: u32 = 0o640;

/// Shows, sets, checks and migrates the settings. Alone it lists them under cosmovisor's names.
#[derive(Debug, Args)]
pub struct Config {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print the settings as they count, secrets masked
    Show {
        /// Say where each value comes from
        #[arg(long)]
        origin: bool,
        /// Form of the output
        #[arg(long, short, value_enum, default_value = "table")]
        output: Output,
    },
    /// Change a key in the settings file; comments stay, and what would not work is not written
    Set {
        /// `section.key`, for example node.stop
        key: String,
        /// The new value; a list is parted by commas, or written ["a", "b"]
        #[arg(allow_hyphen_values = true, required_unless_present = "unset")]
        value: Option<String>,
        /// Take the key out of the file
        #[arg(long, conflicts_with = "value")]
        unset: bool,
    },
    /// Check the settings, or a file, and print everything that is wrong
    Validate {
        /// File to check in place of the usual one
        file: Option<PathBuf>,
    },
    /// Print a file to begin with
    Template {
        /// mainnet, testnet, devnet, validator, rpc, archive, one of your own, or a path
        #[arg(required_unless_present = "list")]
        name: Option<String>,
        /// List what there is
        #[arg(long, short, conflicts_with = "name")]
        list: bool,
        /// Write it to a file that is not there yet
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Write the settings of cosmovisor or of wemixvisor v0.x as today's
    Migrate {
        /// File to read [default: the settings file, else cosmovisor's config.toml]
        #[arg(long, value_name = "FILE")]
        from: Option<PathBuf>,
        /// Print what would be written, and write nothing
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
    Toml,
}

impl Config {
    /// Does what was asked; exit code 1 when the settings are wrong.
    pub fn run(&self, place: &Place) -> anyhow::Result<ExitCode> {
        let flags = place.flags();
        match &self.verb {
            None => print(&listing(&loaded(&flags)?.settings)),
            Some(Verb::Show { origin, output }) => {
                let form = match output {
                    Output::Table => ShowForm::Table,
                    Output::Json => ShowForm::Json,
                    Output::Toml => ShowForm::Toml,
                };
                print(&show(&loaded(&flags)?, form, *origin))
            }
            Some(Verb::Set { key, value, .. }) => set(&flags, key, value.as_deref()),
            Some(Verb::Validate { file }) => validate(&flags, file.as_deref()),
            Some(Verb::Template { name, out, .. }) => {
                template(&template_folder(&flags), name.as_deref(), out.as_deref())
            }
            Some(Verb::Migrate { from, dry_run }) => migration(&flags, from.as_deref(), *dry_run),
        }
    }
}

/// Prints to standard output; who reads only the beginning is not wrong.
fn print(text: &str) -> anyhow::Result<ExitCode> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(e).context("writing the output"),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn loaded(flags: &Flags) -> anyhow::Result<Loaded> {
    let loaded = Loaded::load(flags, &env)?;
    warn(&loaded.warnings);
    Ok(loaded)
}

fn warn(warnings: &[String]) {
    warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
}

/// The one settings file that is written: the named one, else the usual one, there or not.
fn own_file(flags: &Flags) -> anyhow::Result<PathBuf> {
    let flags = Flags { cosmovisor_config: None, ..flags.clone() };
    let usual = || home_of(&flags, &env).map(|home| Home::new(home, String::new()).config());
    let file = files_of(&flags, &env).pop().or_else(usual);
    file.context(
        "no settings file is known: name the home with --home or DAEMON_HOME, or the file with --config",
    )
}

/// Replaces a settings file, or makes it. Where it is a link, the file behind it is replaced.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let failed = || format!("writing {}", path.display());
    let mode = path.metadata().map_or(MODE, |m| m.permissions().mode() & 0o7777);
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o750).create(folder).with_context(failed)?;
    }
    files::replace(&path, text.as_bytes(), mode).with_context(failed)
}

fn set(flags: &Flags, key: &str, value: Option<&str>) -> anyhow::Result<ExitCode> {
    let path = own_file(flags)?;
    let text = match std::fs::read_to_string(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
        read => read.with_context(|| format!("reading {}", path.display()))?,
    };
    let Edit { text, key, old, new, reload, origin, warnings } = edit(&path, &text, key, value, flags, &env)?;
    write(&path, &text)?;
    warn(&warnings);
    if value.is_some() && origin != crate::config::Origin::File(Some(path)) {
        eprintln!("warning: {key} is written, but {origin} is stronger and still counts");
    }
    let said = |text: &str| if text.is_empty() { "nothing".to_owned() } else { text.to_owned() };
    let then = match reload {
        _ if old == new => "nothing else to do",
        Reload::Live => "a running agent takes it over by reload (SIGHUP)",
        Reload::Agent => "counts after a restart of the agent",
        Reload::Node => "counts after a restart of the node",
    };
    print(&format!("{key}: {} -> {}\n{then}\n", said(&old), said(&new)))
}

fn validate(flags: &Flags, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    let mut flags = flags.clone();
    flags.config = file.map(Path::to_owned).or(flags.config);
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    warn(&unknown_variables(names));
    let loaded = loaded(&flags)?;
    // A file that is checked by its name may be for another host.
    let absent = if file.is_some() { Vec::new() } else { loaded.settings.absent() };
    if !absent.is_empty() {
        return Err(SettingsError(absent).into());
    }
    let files: Vec<String> = files_of(&flags, &env).iter().map(|f| f.display().to_string()).collect();
    let what = if files.is_empty() { "no file; the environment".to_owned() } else { files.join(", ") };
    print(&format!("{what}: valid\n"))
}

fn template_folder(flags: &Flags) -> PathBuf {
    let root = home_of(flags, &env).map(|home| Home::new(home, String::new()).root().to_owned());
    root.unwrap_or_default().join("templates")
}

fn template(folder: &Path, name: Option<&str>, out: Option<&Path>) -> anyhow::Result<ExitCode> {
    let Some(name) = name else {
        let rows = templates(folder).into_iter().map(|t| {
            let from = t.path.map(|p| format!(" ({})", p.display())).unwrap_or_default();
            format!("{:10} {}{from}\n", t.name, t.about)
        });
        return print(&rows.collect::<String>());
    };
    let template = Template::find(name, folder)?;
    let source = Source::read(&template.text).with_context(|| format!("template {name}"))?;
    anyhow::ensure!(source.errors.is_empty(), "template {name}: {}", SettingsError(source.errors));
    let Some(out) = out else { return print(&template.text) };
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(MODE).open(out);
    let mut file = file.with_context(|| format!("making {}", out.display()))?;
    file.write_all(template.text.as_bytes()).with_context(|| format!("writing {}", out.display()))?;
    file.sync_all().with_context(|| format!("flushing {}", out.display()))?;
    print(&format!("{}\n", out.display()))
}

/// Whether a file is of a form that can be migrated.
fn is_older(path: &Path) -> bool {
    Source::open(path).is_ok_and(|source| source.form != Form::Ours)
}

fn migration(flags: &Flags, from: Option<&Path>, dry_run: bool) -> anyhow::Result<ExitCode> {
    let usual = own_file(flags).ok();
    let theirs = flags.cosmovisor_config.clone();
    let theirs = theirs.or_else(|| Some(home_of(flags, &env)?.join("cosmovisor/config.toml")));
    let older = || usual.clone().filter(|path| is_older(path));
    let from = from.map(Path::to_owned).or_else(older).or_else(|| theirs.filter(|path| path.is_file()));
    let from = from.or_else(|| usual.clone().filter(|path| path.is_file()));
    let from = from.context("there is no file to migrate: name one with --from FILE")?;
    let text = std::fs::read_to_string(&from).with_context(|| format!("reading {}", from.display()))?;
    let done = migrate(&text).with_context(|| format!("{}", from.display()))?;
    let mut source = Source::read(&done.text)?;
    source.path = Some(from.clone());
    let loaded = Loaded::of(&[source], flags, &env).context("the new settings would not work")?;
    // cosmovisor's own file stays for cosmovisor; what was ours takes the place of what it was.
    let target = match done.from {
        Form::Cosmovisor => usual.filter(|p| *p != from).unwrap_or_else(|| loaded.settings.layout().config()),
        _ => from.clone(),
    };
    anyhow::ensure!(
        target == from || !target.exists(),
        "{} is there already: move it away, or take the values over with `wemixvisor config set`",
        target.display()
    );
    done.kept.iter().for_each(|(said, key)| eprintln!("{said} -> {key}"));
    done.dropped.iter().for_each(|dropped| eprintln!("{} left out: {}", dropped.said, dropped.why));
    warn(&loaded.warnings);
    if dry_run {
        return print(&done.text);
    }
    if target == from {
        let copy = keep(&from)?;
        eprintln!("the file as it was is kept: {}", copy.display());
    }
    write(&target, &done.text)?;
    print(&format!("{}\n", target.display()))
}

/// Copies a file beside itself under a name that no earlier copy has.
fn keep(path: &Path) -> anyhow::Result<PathBuf> {
    let seconds = i64::try_from(crate::clock::now().0 / 1000)?;
    let date = time::OffsetDateTime::from_unix_timestamp(seconds)?.date();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut number = 1;
    loop {
        let end = if number == 1 { String::new() } else { format!("-{number}") };
        let copy = path.with_file_name(format!("{name}.bak-{date}{end}"));
        let failed = || format!("keeping a copy as {}", copy.display());
        let mode = path.metadata().with_context(failed)?.permissions().mode() & 0o7777;
        match OpenOptions::new().write(true).create_new(true).mode(mode).open(&copy) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => number += 1,
            made => {
                let mut made = made.with_context(failed)?;
                let from = File::open(path).with_context(failed)?;
                io::copy(&mut &from, &mut made).with_context(failed)?;
                made.sync_all().with_context(failed)?;
                return Ok(copy);
            }
        }
    }
}
