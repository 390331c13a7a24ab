//! The fleet's certificate authority: made by `init`, signs the server's certificate and the agents' (24 hours).
//! It can enrol agents; it cannot make a release.
use crate::config::Config;
use common::id::NodeName;
use common::release::Digest;
use common::time::Span;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SubjectPublicKeyInfo,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use time::OffsetDateTime;

/// Life of an agent's certificate.
pub const AGENT_LIFE: Span = Span(24 * 3_600_000);
/// An agent's certificate is renewed when less than this is left.
pub const RENEW_BELOW: Span = Span(8 * 3_600_000);

/// Why the CA cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file of the CA cannot be read or written.
    #[error("{path}: {why}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The request is no PKCS#10 with a valid signature.
    #[error("the certificate request cannot be used: {0}")]
    Request(String),
    /// Signing failed.
    #[error("the certificate cannot be made: {0}")]
    Sign(String),
}

/// The CA with its key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: CertificateDer<'static>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({})", self.digest())
    }
}

fn file<E: std::fmt::Display>(path: &Path) -> impl Fn(E) -> CaError + '_ {
    move |e| CaError::File { path: path.to_owned(), why: e.to_string() }
}

fn sign_error(e: rcgen::Error) -> CaError {
    CaError::Sign(e.to_string())
}

/// Writes a file only its owner may read; refuses to replace one.
pub(crate) fn write_secret(path: &Path, text: &str) -> Result<(), CaError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut out = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(file(path))?;
    out.write_all(text.as_bytes()).and_then(|()| out.sync_all()).map_err(file(path))
}

fn validity(params: &mut CertificateParams, life: Span) {
    let now = OffsetDateTime::now_utc();
    // An hour of slack backwards: hosts whose clocks are behind must still accept it.
    params.not_before = now - time::Duration::hours(1);
    params.not_after = now + time::Duration::milliseconds(i64::try_from(life.0).unwrap_or(i64::MAX));
}

impl Authority {
    /// Makes a new CA in `dir` (`ca.key`, `ca.crt`), valid for ten years.
    ///
    /// # Errors
    /// [`CaError::File`] when there is one already.
    pub fn create(dir: &Path) -> Result<(), CaError> {
        let key = KeyPair::generate().map_err(sign_error)?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "wemixfleet CA");
        validity(&mut params, Span(10 * 365 * 24 * 3_600_000));
        let certificate = params.self_signed(&key).map_err(sign_error)?;
        write_secret(&dir.join("ca.key"), &key.serialize_pem())?;
        write_secret(&dir.join("ca.crt"), &certificate.pem())
    }

    /// Opens the CA of `config` and makes the server's certificate anew for the configured names.
    ///
    /// # Errors
    /// [`CaError`].
    pub fn open(config: &Config) -> Result<Authority, CaError> {
        let (key_path, crt_path) = (config.data_dir.join("ca.key"), config.data_dir.join("ca.crt"));
        let key = KeyPair::from_pem(&std::fs::read_to_string(&key_path).map_err(file(&key_path))?)
            .map_err(file(&key_path))?;
        let pem = std::fs::read_to_string(&crt_path).map_err(file(&crt_path))?;
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(file(&crt_path))?;
        let issuer = Issuer::from_ca_cert_pem(&pem, key).map_err(file(&crt_path))?;
        let mut names: Vec<String> = vec!["localhost".into(), "127.0.0.1".into(), "::1".into()];
        names.push(config.listen.ip().to_string());
        names.extend(config.names.iter().cloned());
        names.dedup();
        let server_key = KeyPair::generate().map_err(sign_error)?;
        let mut params = CertificateParams::new(names).map_err(sign_error)?;
        params.distinguished_name.push(DnType::CommonName, "wemixfleet");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        validity(&mut params, Span(365 * 24 * 3_600_000));
        let server = params.signed_by(&server_key, &issuer).map_err(sign_error)?;
        let key =
            PrivateKeyDer::try_from(server_key.serialize_der()).map_err(|e| CaError::Sign(e.to_string()))?;
        Ok(Authority { issuer, pem, chain: vec![server.der().clone(), der.clone()], der, key })
    }

    /// The CA's certificate, PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The CA's certificate, DER.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// SHA-256 of the CA's certificate (DER); a host that enrols by token is told it.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.der)
    }

    /// The server's chain and key.
    pub fn server(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (self.chain.clone(), self.key.clone_key())
    }

    /// Signs an agent's request. Only its public key is taken; everything else is ours. Gives the certificate (PEM) and
    /// the digest of the public key.
    ///
    /// # Errors
    /// [`CaError::Request`] when the request or its signature is bad.
    pub fn sign_request(&self, node: &NodeName, csr_pem: &str) -> Result<(String, Digest), CaError> {
        if csr_pem.len() > 16 * 1024 {
            return Err(CaError::Request("more than 16 KiB".into()));
        }
        let csr = CertificateSigningRequestParams::from_pem(csr_pem)
            .map_err(|e| CaError::Request(e.to_string()))?;
        let key = csr.public_key.subject_public_key_info();
        Ok((self.sign_key(node, &key)?, Digest::of(&key)))
    }

    /// Signs a public key (DER, SubjectPublicKeyInfo) for a node.
    ///
    /// # Errors
    /// [`CaError`].
    pub fn sign_key(&self, node: &NodeName, key_der: &[u8]) -> Result<String, CaError> {
        let key = SubjectPublicKeyInfo::from_der(key_der).map_err(|e| CaError::Request(e.to_string()))?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, node.as_str());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        validity(&mut params, AGENT_LIFE);
        Ok(params.signed_by(&key, &self.issuer).map_err(sign_error)?.pem())
    }
}

/// Who a client certificate names. It was verified against our CA by the TLS layer.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The node.
    pub node: NodeName,
    /// Its public key (DER, SubjectPublicKeyInfo).
    pub key_der: Vec<u8>,
    /// Digest of that.
    pub key: Digest,
    /// End of validity in seconds since 1970.
    pub not_after_s: i64,
}

impl Peer {
    /// Reads a verified certificate.
    ///
    /// # Errors
    /// [`CaError::Request`] when it names no node.
    pub fn read(der: &[u8]) -> Result<Peer, CaError> {
        let bad = |why: &str| CaError::Request(why.to_owned());
        let (_, certificate) =
            x509_parser::parse_x509_certificate(der).map_err(|_| bad("the certificate cannot be read"))?;
        let subject = certificate.subject();
        let name = subject.iter_common_name().next().and_then(|n| n.as_str().ok());
        let node =
            name.and_then(|n| NodeName::new(n).ok()).ok_or_else(|| bad("the certificate names no node"))?;
        let key_der = certificate.public_key().raw.to_vec();
        let key = Digest::of(&key_der);
        Ok(Peer { node, key_der, key, not_after_s: certificate.validity().not_after.timestamp() })
    }
}
