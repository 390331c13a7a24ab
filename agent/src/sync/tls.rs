//! TLS 1.3 with this host's certificate towards exactly one CA.
use super::files::{FileError, FleetFiles};
use common::release::Digest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::path::PathBuf;
use std::sync::Arc;

/// Why a secure connection cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file does not hold what it should.
    #[error("{path}: {why}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Key and certificate do not fit together, or cannot be used.
    #[error("key and certificate cannot be used: {0}")]
    Pair(#[from] rustls::Error),
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn content(path: PathBuf, why: impl std::fmt::Display) -> TlsError {
    TlsError::Content { path, why: why.to_string() }
}

fn chain(pem: &[u8], path: PathBuf) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.map_err(|e| content(path.clone(), e))?;
    if chain.is_empty() { Err(content(path, "it holds no certificate")) } else { Ok(chain) }
}

fn roots(pem: &[u8], path: PathBuf) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in chain(pem, path.clone())? {
        store.add(certificate).map_err(|e| content(path.clone(), e))?;
    }
    Ok(store)
}

fn read(path: PathBuf) -> Result<Vec<u8>, TlsError> {
    std::fs::read(&path).map_err(|source| FileError { path, source }.into())
}

fn key(files: &FleetFiles) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(files.key())?).map_err(|e| content(files.key(), e))
}

/// Settings for connections that show this host's certificate and accept the pinned CA only.
///
/// # Errors
/// [`TlsError`] names the file at fault.
pub fn mutual(files: &FleetFiles) -> Result<ClientConfig, TlsError> {
    let roots = roots(&read(files.ca())?, files.ca())?;
    let chain = chain(&read(files.certificate())?, files.certificate())?;
    Ok(ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key(files)?)?)
}

/// Whether a certificate chain fits this host's key.
///
/// # Errors
/// [`TlsError`] says why not.
pub fn check_pair(files: &FleetFiles, certificate: &str) -> Result<(), TlsError> {
    let chain = chain(certificate.as_bytes(), files.certificate())?;
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(RootCertStore::empty())
        .with_client_auth_cert(chain, key(files)?)?;
    Ok(())
}

/// Settings for enrolment: the pinned CA, no certificate of our own yet.
///
/// # Errors
/// [`TlsError`] when `ca` holds no certificate.
pub fn pinned(ca: &str) -> Result<ClientConfig, TlsError> {
    let roots = roots(ca.as_bytes(), PathBuf::from("the CA certificate"))?;
    Ok(ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// Settings for the one request that fetches the CA, whose answer is checked by its hash instead.
///
/// # Errors
/// [`TlsError::Pair`] never in practice: the provider knows TLS 1.3.
pub fn unverified() -> Result<ClientConfig, TlsError> {
    Ok(ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider())))
        .with_no_client_auth())
}

/// SHA-256 of the first certificate in a PEM text.
///
/// # Errors
/// [`TlsError::Content`] when there is none.
pub fn hash(pem: &str) -> Result<Digest, TlsError> {
    let chain = chain(pem.as_bytes(), PathBuf::from("the CA certificate"))?;
    chain
        .first()
        .map(|c| Digest::of(c))
        .ok_or_else(|| content(PathBuf::from("the CA certificate"), "it holds no certificate"))
}

/// Accepts any server. Only for fetching what is then compared with a hash that is known beforehand.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
