//! Maintainers' keys: minisign-compatible, made and used on the maintainer's own machine.
use super::context::write_private;
use super::error::{Failure, Outcome};
use super::output::say;
use minisign::{KeyPair, PublicKey, SecretKey, SecretKeyBox};
use std::io::Read as _;
use std::path::Path;

/// Makes a key pair: `FILE` (mode 0600) and `FILE.pub`. Refuses to overwrite. The base64 line of the public key.
///
/// # Errors
/// When a file exists already or cannot be written.
pub fn generate(path: &Path, password: Option<String>) -> Outcome<String> {
    let public = path.with_added_extension("pub");
    for file in [path, &public] {
        if file.exists() {
            return Err(Failure::usage(format!("{} exists already", file.display()))
                .hint("a key that was lost cannot be made again; choose another name"));
        }
    }
    let failed = |e: minisign::PError| Failure::usage("cannot make a key").because(e);
    let pair = KeyPair::generate_unencrypted_keypair().map_err(failed)?;
    let comment = Some("wemixvisor maintainer key");
    let secret = match password {
        Some(password) => {
            let pair = KeyPair::generate_encrypted_keypair(Some(password)).map_err(failed)?;
            return store(path, &public, &pair.sk.to_box(comment).map_err(failed)?.to_string(), &pair.pk);
        }
        None => pair.sk.to_box(comment).map_err(failed)?.to_string(),
    };
    say("warning: the key is not protected by a password");
    store(path, &public, &secret, &pair.pk)
}

fn store(path: &Path, public: &Path, secret: &str, key: &PublicKey) -> Outcome<String> {
    let text =
        key.to_box().map_err(|e| Failure::usage("cannot write the public key").because(e))?.to_string();
    write_private(path, secret.as_bytes())?;
    std::fs::write(public, text)
        .map_err(|e| Failure::usage(format!("cannot write {}", public.display())).because(e))?;
    Ok(key.to_base64())
}

/// Signs bytes; the text of a minisign signature file.
///
/// # Errors
/// When the key cannot be read, or its password is missing or wrong.
pub fn sign(key: &Path, password: Option<String>, bytes: &[u8], comment: &str) -> Outcome<String> {
    let named = |e: String| Failure::usage(format!("cannot use the key {}", key.display())).because(e);
    let text = std::fs::read_to_string(key).map_err(|e| named(e.to_string()))?;
    let boxed = SecretKeyBox::from_string(&text).map_err(|e| named(e.to_string()))?;
    let secret: SecretKey = match password {
        Some(password) => boxed.into_secret_key(Some(password)),
        None => boxed.into_unencrypted_secret_key(),
    }
    .map_err(|e| named(e.to_string()).hint("a key with a password needs --password-file FILE"))?;
    let signature = minisign::sign(None, &secret, bytes, Some(comment), Some("wemixvisor release manifest"))
        .map_err(|e| named(e.to_string()))?;
    Ok(signature.to_string())
}

/// A password from a file, its first line; `-` is standard input.
///
/// # Errors
/// When it cannot be read.
pub fn password(file: Option<&Path>) -> Outcome<Option<String>> {
    let Some(path) = file else { return Ok(None) };
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|mut f| f.read_to_string(&mut text))
    };
    read.map_err(|e| Failure::usage(format!("cannot read the password from {}", path.display())).because(e))?;
    Ok(Some(text.lines().next().unwrap_or_default().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::manifest::TrustRoot;

    #[test]
    fn what_is_signed_here_is_believed_there() {
        let dir = tempfile::tempdir().unwrap();
        let manifest = include_bytes!("testdata/manifest.json");
        let mut keys = Vec::new();
        let mut signatures = String::new();
        for name in ["a", "b"] {
            let path = dir.path().join(name);
            keys.push(generate(&path, None).unwrap());
            signatures.push_str(&sign(&path, None, manifest, "x").unwrap());
        }
        let accepted = TrustRoot { threshold: 2, keys }.accept(manifest, &signatures).unwrap();
        assert_eq!(accepted.signers, [0, 1]);
        assert!(generate(&dir.path().join("a"), None).unwrap_err().to_string().contains("exists already"));
    }
}
