//! From a verified file in staging to an executable in the store.
use super::archive::unpack;
use super::error::{FetchError, disk_error};
use super::source::{Packing, shown};
use super::{executable, transfer};
use crate::home::Home;
use crate::host::files::{self, Temporary};
use common::release::Digest;
use reqwest::Url;
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What is to be made of a file.
pub(crate) struct Package {
    /// Where it came from, for errors.
    pub url: Url,
    /// How it is packed.
    pub packing: Packing,
    /// Names that the executable may have in an archive.
    pub members: Vec<String>,
    /// Most bytes it may unpack to.
    pub most: u64,
    /// What the executable must hash to, when a manifest says it.
    pub wanted: Option<Digest>,
}

/// An executable in staging; it is removed again unless it is adopted.
pub(crate) struct Executable {
    path: PathBuf,
    guard: Temporary,
    /// Its digest.
    pub digest: Digest,
}

/// Takes the executable out of a verified file, and looks at it. Blocks.
///
/// # Errors
/// [`FetchError`]; nothing is left then.
pub(crate) fn executable_of(verified: &Path, package: &Package) -> Result<Executable, FetchError> {
    let url = || shown(&package.url);
    let (path, digest) = match package.packing {
        Packing::Raw => (verified.to_owned(), None),
        packing => {
            let path = verified.with_added_extension("unpacked");
            let guard = Temporary::new(path.clone());
            let folder = path.parent().unwrap_or(Path::new("/"));
            transfer::enough_space(folder, 0)?;
            let digest = unpack(verified, packing, &package.members, package.most, &path)
                .map_err(|source| FetchError::Archive { url: url(), source })?;
            guard.keep();
            (path, Some(digest))
        }
    };
    let guard = Temporary::new(path.clone());
    let digest = match digest {
        Some(digest) => digest,
        None => files::digest_of(&path).map_err(disk_error(&path))?,
    };
    if let Some(wanted) = package.wanted.filter(|wanted| *wanted != digest) {
        return Err(FetchError::Member { url: url(), wanted, found: digest });
    }
    executable::check(&path).map_err(|source| FetchError::Executable { url: url(), source })?;
    Ok(Executable { path, guard, digest })
}

impl Executable {
    /// Gives it its final name in the store, durably. Blocks.
    ///
    /// # Errors
    /// [`FetchError::Disk`]; it is not in the store then.
    pub(crate) fn adopt(self, home: &Home) -> Result<Digest, FetchError> {
        let place = home.artifact(&self.digest);
        let adopted = (|| {
            let file = File::open(&self.path)?;
            file.set_permissions(Permissions::from_mode(0o555))?;
            file.sync_all()?;
            std::fs::rename(&self.path, &place)?;
            files::sync_folder(&home.store())
        })();
        adopted.map_err(disk_error(&place))?;
        self.guard.keep();
        Ok(self.digest)
    }
}
