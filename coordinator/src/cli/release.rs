//! `release keygen | sign | verify | add | list | show`.
use super::error::{Exit, Failure, Outcome};
use super::output::{Format, Table, json, print, say};
use super::show::lines;
use super::time::utc;
use super::{Env, key, read_text};
use common::id::ReleaseName;
use common::manifest::{Manifest, TrustRoot};
use common::release::Digest;
use coordinator::api::body::{NewRelease, ReleaseList};
use coordinator::release::ReleaseRecord;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};

/// Verbs on releases.
#[derive(Debug, clap::Subcommand)]
pub enum ReleaseVerb {
    /// Make a maintainer's key pair: FILE and FILE.pub.
    Keygen {
        /// Where the secret key goes.
        file: PathBuf,
        /// File with a password for the key, `-` for standard input.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Sign a manifest. Signatures are appended to the output, so that maintainers sign one after the other.
    Sign {
        /// Secret key; may be given several times.
        #[arg(long, required = true, value_name = "FILE")]
        key: Vec<PathBuf>,
        /// File with the password of the keys.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// The manifest.
        manifest: PathBuf,
        /// Signatures file; MANIFEST.minisig when not given.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Check a manifest and its signatures against the trusted keys.
    Verify {
        /// The manifest.
        manifest: PathBuf,
        /// Signatures file; MANIFEST.minisig when not given.
        #[arg(long, value_name = "FILE")]
        signatures: Option<PathBuf>,
        /// File with trusted public keys: `.pub` files or their base64 lines; may be given several times.
        #[arg(long, value_name = "FILE", required_unless_present = "config", conflicts_with = "config")]
        keys: Vec<PathBuf>,
        /// How many keys must have signed; all of them when not given.
        #[arg(long, requires = "keys")]
        threshold: Option<usize>,
        /// Coordinator's or agent's configuration with a `[trust]` section.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Give a release to the coordinator, which checks everything and fetches the artifacts it was not given.
    Add {
        /// The manifest.
        manifest: PathBuf,
        /// Signatures file; MANIFEST.minisig when not given.
        #[arg(long, value_name = "FILE")]
        signatures: Option<PathBuf>,
        /// Artifact to upload first; may be given several times.
        #[arg(long, value_name = "FILE")]
        artifact: Vec<PathBuf>,
    },
    /// Releases the coordinator knows.
    List,
    /// One of them.
    Show {
        /// Its name.
        name: ReleaseName,
    },
}

fn minisig(manifest: &Path, given: Option<PathBuf>) -> PathBuf {
    given.unwrap_or_else(|| manifest.with_added_extension("minisig"))
}

/// Runs a verb.
///
/// # Errors
/// When files cannot be used, signatures do not suffice, or the coordinator says no.
pub async fn run(env: &Env, verb: ReleaseVerb) -> Outcome {
    match verb {
        ReleaseVerb::Keygen { file, password_file } => {
            let public = key::generate(&file, key::password(password_file.as_deref())?)?;
            print(&format!("{public}\n"))?;
            say(format!("secret key: {}; the line above goes into [trust] keys", file.display()));
            Ok(Exit::Done)
        }
        ReleaseVerb::Sign { key, password_file, manifest, out } => sign(&key, password_file, &manifest, out),
        ReleaseVerb::Verify { manifest, signatures, keys, threshold, config } => {
            let root = match config {
                Some(path) => trust_of(&path)?,
                None => trust_from(&keys, threshold)?,
            };
            verify(env, &manifest, &minisig(&manifest, signatures), &root)
        }
        ReleaseVerb::Add { manifest, signatures, artifact } => {
            add(env, &manifest, signatures, &artifact).await
        }
        ReleaseVerb::List => list(env).await,
        ReleaseVerb::Show { name } => {
            let release: ReleaseRecord = env.client()?.get(&format!("/v1/releases/{name}")).await?;
            match env.format {
                Format::Json => json(&release)?,
                _ => print(&described(&release))?,
            }
            Ok(Exit::Done)
        }
    }
}

fn read_manifest(path: &Path) -> Outcome<(Vec<u8>, Manifest)> {
    let bytes = std::fs::read(path)
        .map_err(|e| Failure::usage(format!("cannot read {}", path.display())).because(e))?;
    let manifest = Manifest::read(&bytes)
        .map_err(|e| Failure::usage(format!("{} is no manifest", path.display())).because(e))?;
    Ok((bytes, manifest))
}

fn sign(keys: &[PathBuf], password_file: Option<PathBuf>, path: &Path, out: Option<PathBuf>) -> Outcome {
    let (bytes, manifest) = read_manifest(path)?;
    let password = key::password(password_file.as_deref())?;
    let out = minisig(path, out);
    let mut text = if out.exists() { read_text(&out)? } else { String::new() };
    for file in keys {
        let digest = Digest::of(&bytes);
        text.push_str(&key::sign(file, password.clone(), &bytes, &format!("{} {digest}", manifest.name))?);
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    std::fs::write(&out, text)
        .map_err(|e| Failure::usage(format!("cannot write {}", out.display())).because(e))?;
    say(format!("signed {} ({}) into {}", manifest.name, Digest::of(&bytes).short(), out.display()));
    Ok(Exit::Done)
}

fn verify(env: &Env, path: &Path, signatures: &Path, root: &TrustRoot) -> Outcome {
    let (bytes, _) = read_manifest(path)?;
    let accepted = root.accept(&bytes, &read_text(signatures)?).map_err(|e| {
        Failure::with(Exit::No, format!("{} is not to be believed", path.display())).because(e)
    })?;
    let digest = accepted.digest.to_string();
    if env.format == Format::Json {
        json(
            &serde_json::json!({"manifest": accepted.manifest, "digest": digest, "signers": accepted.signers}),
        )?;
    } else {
        print(&format!("{} {digest}\n", accepted.manifest.name))?;
        say(format!(
            "signed by {} of {} trusted keys, {} needed",
            accepted.signers.len(),
            root.keys.len(),
            root.threshold
        ));
    }
    Ok(Exit::Done)
}

/// Keys from files: whole `.pub` files or base64 lines; comments are skipped.
fn trust_from(files: &[PathBuf], threshold: Option<usize>) -> Outcome<TrustRoot> {
    let mut keys = Vec::new();
    for file in files {
        let text = read_text(file)?;
        let plain = |l: &&str| !l.is_empty() && !l.starts_with('#') && !l.starts_with("untrusted comment:");
        keys.extend(text.lines().map(str::trim).filter(plain).map(str::to_owned));
    }
    let root = TrustRoot { threshold: threshold.unwrap_or(keys.len()), keys };
    root.validate().map_err(|e| Failure::usage("the trusted keys cannot be used").because(e))?;
    Ok(root)
}

fn trust_of(path: &Path) -> Outcome<TrustRoot> {
    #[derive(Deserialize)]
    struct Trusting {
        trust: TrustRoot,
    }
    let read: Trusting = toml::from_str(&read_text(path)?)
        .map_err(|e| Failure::usage(format!("no usable [trust] in {}", path.display())).because(e))?;
    Ok(read.trust)
}

async fn add(env: &Env, path: &Path, signatures: Option<PathBuf>, artifacts: &[PathBuf]) -> Outcome {
    let client = env.client()?;
    let (bytes, manifest) = read_manifest(path)?;
    let signatures = read_text(&minisig(path, signatures))?;
    for file in artifacts {
        let named =
            |e: &dyn std::fmt::Display| Failure::usage(format!("cannot read {}", file.display())).because(e);
        let (digest, size) = measure(file).map_err(|e| named(&e))?;
        if !manifest.artifacts.iter().any(|a| a.sha256 == digest) {
            return Err(Failure::usage(format!("{} is no artifact of {}", file.display(), manifest.name))
                .because(format!("its SHA-256 is {digest}")));
        }
        say(format!("sending {} ({size} bytes)", file.display()));
        let open = tokio::fs::File::open(file).await.map_err(|e| named(&e))?;
        client.put_file(&format!("/v1/artifacts/{digest}"), open, size).await?;
    }
    let text =
        String::from_utf8(bytes).map_err(|e| Failure::usage("the manifest is not UTF-8").because(e))?;
    say("the coordinator checks the release and fetches what it does not have");
    let added: ReleaseRecord =
        client.post_slow("/v1/releases", &NewRelease { manifest: text, signatures }).await?;
    match env.format {
        Format::Json => json(&added)?,
        _ => print(&format!("{}\n", added.release.name))?,
    }
    say(format!("next: wemixfleet rollout plan --release {} --policy staged", added.release.name));
    Ok(Exit::Done)
}

/// Digest and size of a file, read in pieces.
fn measure(path: &Path) -> std::io::Result<(Digest, u64)> {
    let mut file = std::fs::File::open(path)?;
    let (mut hash, mut size, mut chunk) = (Sha256::new(), 0, vec![0; 1 << 16]);
    loop {
        let n = std::io::Read::read(&mut file, &mut chunk)?;
        if n == 0 {
            return Ok((Digest(hash.finalize().into()), size));
        }
        hash.update(&chunk[..n]);
        size += n as u64;
    }
}

/// A release in words; the manifest's own text is left to `-o json`.
fn described(record: &ReleaseRecord) -> String {
    let manifest = serde_json::to_value(&record.manifest).unwrap_or_default();
    let signers: Vec<String> = record.signers.iter().map(|s| (s + 1).to_string()).collect();
    format!(
        "{}digest: {}\nsigned by trusted keys: {}\nadded: {}\n",
        lines(&manifest, 0),
        record.digest(),
        signers.join(", "),
        utc(record.added_at)
    )
}

async fn list(env: &Env) -> Outcome {
    let list: ReleaseList = env.client()?.get("/v1/releases").await?;
    match env.format {
        Format::Json => json(&list)?,
        Format::Name => {
            print(&list.releases.iter().map(|r| format!("{}\n", r.release.name)).collect::<String>())?
        }
        _ => {
            let mut table = Table::new(&["NAME", "SEQUENCE", "ACTIVATION", "SIGNED BY", "ADDED", "MANIFEST"]);
            for record in &list.releases {
                let release = &record.release;
                table.row([
                    release.name.to_string(),
                    release.sequence.to_string(),
                    record.manifest.activation.height().map_or("anytime".into(), |h| format!("height {h}")),
                    format!("{} keys", record.signers.len()),
                    utc(record.added_at),
                    if env.format == Format::Wide {
                        release.manifest.to_string()
                    } else {
                        release.manifest.short()
                    },
                ]);
            }
            print(&table.render(0))?;
        }
    }
    Ok(Exit::Done)
}
