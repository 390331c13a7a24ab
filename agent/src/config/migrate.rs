//! From the incumbents' files, and from ours before it was numbered, to the schema of today.
use super::SettingsError;
use super::keys;
use super::source::{Dropped, Form, Source};
use super::text::toml_text;
use std::fmt::Write;

/// A file of today's schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// The form it had.
    pub from: Form,
    /// The whole new file.
    pub text: String,
    /// What was taken over: the old name, and where it is now.
    pub kept: Vec<(String, String)>,
    /// What has no place in it, and why.
    pub dropped: Vec<Dropped>,
}

/// Why there is nothing to write.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The file is of today's schema.
    #[error("the file is of schema 1 already: there is nothing to do")]
    Current,
    /// The file cannot be used.
    #[error("the file is not migrated: {0}")]
    Wrong(SettingsError),
}

/// Writes a file anew.
///
/// # Errors
/// [`MigrateError::Current`] when it is of today's schema, [`MigrateError::Wrong`] with all of its errors.
pub fn migrate(text: &str) -> Result<Migration, MigrateError> {
    let source = Source::read(text).map_err(MigrateError::Wrong)?;
    let (source, numbered) = match source.form {
        Form::Ours => return Err(MigrateError::Current),
        Form::Unnumbered => {
            let numbered = format!("schema = 1\n{text}");
            (Source::read(&numbered).map_err(MigrateError::Wrong)?, Some(numbered))
        }
        Form::Cosmovisor | Form::Flat => (source, None),
    };
    if !source.errors.is_empty() {
        return Err(MigrateError::Wrong(SettingsError(source.errors)));
    }
    let kept = source.values.iter().map(|found| (found.said.clone(), found.key.path()));
    Ok(Migration {
        from: if numbered.is_some() { Form::Unnumbered } else { source.form },
        kept: kept.collect(),
        text: numbered.unwrap_or_else(|| written(&source)),
        dropped: source.dropped,
    })
}

fn written(source: &Source) -> String {
    let mut out =
        format!("# Taken over from {}. Keys that are not here have their defaults.\n", source.form.name());
    out += "schema = 1\n";
    for (section, _) in keys::SECTIONS {
        let found = |key: &&super::key::Key| source.values.iter().find(|f| f.key.path() == key.path());
        let here: Vec<_> =
            keys::all().filter(|key| key.section == section).filter_map(|k| found(&k)).collect();
        if !here.is_empty() {
            let _ = writeln!(out, "\n[{section}]");
        }
        for found in here {
            let _ = writeln!(out, "{} = {}", found.key.name, toml_text(found.key.kind(), &found.value));
        }
    }
    if !source.dropped.is_empty() {
        out += "\n# Left out:\n";
    }
    for dropped in &source.dropped {
        let _ = writeln!(out, "#   {}: {}", dropped.said, dropped.why);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_becomes_schema_1_and_stays_so() {
        let cosmovisor = "daemon_home = '/h'\ndaemon_name = 'geth'\ndaemon_poll_interval = 300000000\n\
            daemon_shutdown_grace = 0\ndaemon_grpc_address = 'localhost:9090'\nunsafe_skip_backup = true\n";
        let flat = "home = '/h'\nname = 'geth'\nmax_restarts = 5.0\nhealth_check_interval = 30000000000.0\n\
            network_id = 1112\nchain_id = '1112'\nvalidator_key = ''\n";
        for (text, from, kept, dropped, holds) in [
            (cosmovisor, Form::Cosmovisor, 4, 1, "[upgrade]\npoll = \"300ms\"\n"),
            (flat, Form::Flat, 5, 2, "[health]\nevery = \"30s\"\n"),
            ("# mine\n[node]\nstop = \"1m\"\n", Form::Unnumbered, 1, 0, "# mine\n[node]\n"),
        ] {
            let done = migrate(text).unwrap();
            assert_eq!(
                (done.from, done.kept.len(), done.dropped.len()),
                (from, kept, dropped),
                "{}",
                done.text
            );
            assert!(done.text.contains(holds), "{}", done.text);
            assert!(matches!(migrate(&done.text), Err(MigrateError::Current)));
            assert!(Source::read(&done.text).unwrap().errors.is_empty(), "{}", done.text);
        }
        let hostile = migrate("daemon_name = 'n'\n\"x\\n[node]\\nname\" = 1\n").unwrap();
        assert_eq!(Source::read(&hostile.text).unwrap().values.len(), 1, "{}", hostile.text);
        assert_eq!(hostile.dropped.len(), 1);
        let wrong =
            migrate("daemon_poll_interval = 'x'\ndaemon_allow_download_binaries = 'yes'\n").unwrap_err();
        let text = wrong.to_string();
        assert!(text.contains("daemon_poll_interval") && text.contains("\"yes\""), "{text}");
    }
}
