//! Files to begin with: for each network and role, and the operator's own.
use std::path::{Path, PathBuf};

/// One template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// How it is called.
    pub name: String,
    /// Where it comes from; `None` when it is built in.
    pub path: Option<PathBuf>,
    /// Its first line, without the comment sign.
    pub about: String,
    /// The whole file.
    pub text: String,
}

/// Why there is no template.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// None is called so.
    #[error("no template is called {name:?}; there are {known}. One of your own goes to {} or is named by its path", folder.display())]
    Unknown {
        /// The name.
        name: String,
        /// What there is.
        known: String,
        /// Where one's own are.
        folder: PathBuf,
    },
    /// A file cannot be read.
    #[error("reading {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

const BUILT_IN: [(&str, &str); 6] = [
    ("mainnet", include_str!("../../../config/templates/mainnet.toml")),
    ("testnet", include_str!("../../../config/templates/testnet.toml")),
    ("devnet", include_str!("../../../config/templates/devnet.toml")),
    ("validator", include_str!("../../../config/templates/validator.toml")),
    ("rpc", include_str!("../../../config/templates/rpc.toml")),
    ("archive", include_str!("../../../config/templates/archive.toml")),
];

impl Template {
    fn new(name: &str, path: Option<PathBuf>, text: String) -> Template {
        let first = text.lines().next().unwrap_or_default();
        let about = first.strip_prefix('#').unwrap_or_default().trim().to_owned();
        Template { name: name.to_owned(), path, about, text }
    }

    /// The template of a name. What has a slash in it is a path; a file in `folder` goes before one that is built in.
    ///
    /// # Errors
    /// [`TemplateError`] when there is none, or it cannot be read.
    pub fn find(name: &str, folder: &Path) -> Result<Template, TemplateError> {
        let read = |path: PathBuf| match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Template::new(name, Some(path), text)),
            Err(source) => Err(TemplateError::Read { path, source }),
        };
        if name.contains('/') {
            return read(name.into());
        }
        let own = folder.join(format!("{name}.toml"));
        if !name.is_empty() && own.is_file() {
            return read(own);
        }
        let built_in = BUILT_IN.iter().find(|(n, _)| *n == name);
        built_in.map(|(name, text)| Template::new(name, None, (*text).to_owned())).ok_or_else(|| {
            let known: Vec<String> = templates(folder).into_iter().map(|t| t.name).collect();
            TemplateError::Unknown {
                name: name.to_owned(),
                known: known.join(", "),
                folder: folder.to_owned(),
            }
        })
    }
}

/// What is built in, and what can be read in `folder`, by name.
pub fn templates(folder: &Path) -> Vec<Template> {
    let mut all: Vec<Template> =
        BUILT_IN.iter().map(|(name, text)| Template::new(name, None, (*text).to_owned())).collect();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".toml"));
        let (Some(name), Ok(text)) = (name, std::fs::read_to_string(&path)) else { continue };
        all.retain(|template| template.name != name);
        all.push(Template::new(name, Some(path.clone()), text));
    }
    all.sort_by(|a, b| (a.path.is_some(), &a.name).cmp(&(b.path.is_some(), &b.name)));
    all
}
