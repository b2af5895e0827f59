//! `tls_server_config`, with rustls in the place of Go's crypto/tls.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{
    CryptoProvider, SupportedKxGroup, ring as provider, verify_tls12_signature,
    verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, InconsistentKeys,
    NamedGroup, ProtocolVersion, RootCertStore, ServerConfig, SignatureScheme,
    SupportedProtocolVersion, version,
};
use x509_parser::extensions::GeneralName;

use super::reader::Reader;

/// How connections are encrypted and who may open one.
pub struct Tls {
    pub server: Arc<ServerConfig>,
    /// The server's own certificate.
    pub own: CertificateDer<'static>,
    /// A client must show a certificate.
    pub demands_client: bool,
    /// What a client shows must come from a known authority.
    pub verifies_client: bool,
    /// And be for one of the names that are allowed.
    pub checks_sans: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSection {
    cert: Option<String>,
    key: Option<String>,
    client_ca: Option<String>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    client_ca_file: Option<PathBuf>,
    client_auth_type: Option<String>,
    client_allowed_sans: Option<Vec<String>>,
    min_version: Option<String>,
    max_version: Option<String>,
    cipher_suites: Option<Vec<String>>,
    prefer_server_cipher_suites: Option<bool>,
    curve_preferences: Option<Vec<String>>,
}

impl TlsSection {
    pub fn has_inline_key(&self) -> bool {
        self.key.as_ref().is_some_and(|key| !key.is_empty())
    }

    pub fn build(self, reader: &mut Reader) -> Result<Tls, String> {
        self.checked(reader)
            .map_err(|error| format!("tls_server_config.{error}"))
    }

    fn checked(self, reader: &mut Reader) -> Result<Tls, String> {
        let cert = source(reader, "cert", self.cert, self.cert_file, false)?
            .ok_or("cert_file is missing: without a certificate there is no TLS; leave tls_server_config out for plain HTTP")?;
        let key =
            source(reader, "key", self.key, self.key_file, true)?.ok_or("key_file is missing")?;
        let authorities = source(
            reader,
            "client_ca",
            self.client_ca,
            self.client_ca_file,
            false,
        )?;

        let chain = certificates(&cert, "cert_file")?;
        let own = chain.first().cloned().ok_or("cert_file is empty")?;
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(
            |_| "key_file holds no private key that can be read: PEM in PKCS#8, PKCS#1 or SEC1 form, not encrypted",
        )?;
        let provider = Arc::new(CryptoProvider {
            cipher_suites: suites(self.cipher_suites.as_deref().unwrap_or_default())?,
            kx_groups: curves(self.curve_preferences.as_deref().unwrap_or_default())?,
            ..provider::default_provider()
        });
        let versions = versions(self.min_version.as_deref(), self.max_version.as_deref())?;

        let policy = Policy::parse(self.client_auth_type.as_deref().unwrap_or_default())?;
        let sans = self.client_allowed_sans.unwrap_or_default();
        if !sans.is_empty() && !policy.verifies() {
            return Err("client_allowed_sans needs client_auth_type: RequireAndVerifyClientCert; the names of an unverified certificate prove nothing".into());
        }
        let checks_sans = !sans.is_empty();
        let verifier = verifier(policy, authorities.as_deref(), sans, &provider)?;

        let builder =
            ServerConfig::builder_with_provider(provider).with_protocol_versions(&versions).map_err(
                |_| "cipher_suites: none of them is for a version between min_version and max_version",
            )?;
        let builder = match verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut server = builder
            .with_single_cert(chain, key)
            .map_err(|error| match error {
                Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                    "key_file: the key does not belong to the certificate in cert_file".into()
                }
                error => format!("cert_file and key_file cannot be used together: {error}"),
            })?;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        server.ignore_client_order = self.prefer_server_cipher_suites.unwrap_or(true);
        Ok(Tls {
            server: Arc::new(server),
            own,
            demands_client: policy.demands(),
            verifies_client: policy.verifies(),
            checks_sans,
        })
    }
}

/// The bytes of a PEM, given in the file itself or by name.
fn source(
    reader: &mut Reader,
    key: &str,
    inline: Option<String>,
    file: Option<PathBuf>,
    secret: bool,
) -> Result<Option<Vec<u8>>, String> {
    let inline = inline.filter(|text| !text.is_empty());
    let file = file.filter(|path| path != Path::new(""));
    match (inline, file) {
        (Some(_), Some(_)) => Err(format!("{key}: give {key} or {key}_file, not both")),
        (Some(text), None) => Ok(Some(text.into_bytes())),
        (None, Some(path)) => reader
            .read(&path, secret)
            .map(Some)
            .map_err(|error| format!("{key}_file: {error}")),
        (None, None) => Ok(None),
    }
}

fn certificates(pem: &[u8], key: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|_| format!("{key} holds a certificate that is not valid PEM"))?;
    match found.is_empty() {
        true => Err(format!("{key} holds no certificate in PEM form")),
        false => Ok(found),
    }
}

/// Both versions have names of four of Go's; two of them rustls does not speak.
fn versions(
    min: Option<&str>,
    max: Option<&str>,
) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
    let number = |key: &str, name: &str| match name {
        "TLS12" => Ok(12),
        "TLS13" => Ok(13),
        "TLS10" | "TLS11" => Err(format!(
            "{key}: {name} is broken and not spoken here; there are TLS12 and TLS13"
        )),
        _ => Err(format!("{key}: there are TLS12 and TLS13")),
    };
    let min = number("min_version", min.unwrap_or("TLS12"))?;
    let max = number("max_version", max.unwrap_or("TLS13"))?;
    let all: [(u8, &SupportedProtocolVersion); 2] = [(13, &version::TLS13), (12, &version::TLS12)];
    let kept: Vec<_> = all
        .iter()
        .filter(|(n, _)| (min..=max).contains(n))
        .map(|(_, v)| *v)
        .collect();
    match kept.is_empty() {
        true => Err("max_version is below min_version".into()),
        false => Ok(kept),
    }
}

/// As in Go, the list is for TLS 1.2; the suites of TLS 1.3 are always on.
fn suites(wanted: &[String]) -> Result<Vec<tokio_rustls::rustls::SupportedCipherSuite>, String> {
    let all = provider::ALL_CIPHER_SUITES;
    if wanted.is_empty() {
        return Ok(all.to_vec());
    }
    let go_name = |suite: &tokio_rustls::rustls::SupportedCipherSuite| {
        format!("{:?}", suite.suite()).replacen("TLS13_", "TLS_", 1)
    };
    let is_13 = |suite: &tokio_rustls::rustls::SupportedCipherSuite| {
        suite.version().version == ProtocolVersion::TLSv1_3
    };
    let mut kept: Vec<_> = all.iter().copied().filter(is_13).collect();
    for name in wanted {
        match all.iter().find(|suite| go_name(suite) == *name) {
            Some(suite) if !kept.contains(suite) => kept.push(*suite),
            Some(_) => {}
            None => {
                let known: Vec<String> = all
                    .iter()
                    .filter(|suite| !is_13(suite))
                    .map(go_name)
                    .collect();
                return Err(format!(
                    "cipher_suites: {name} is not spoken here; there are {}",
                    known.join(", ")
                ));
            }
        }
    }
    Ok(kept)
}

fn curves(wanted: &[String]) -> Result<Vec<&'static dyn SupportedKxGroup>, String> {
    let all = provider::ALL_KX_GROUPS;
    if wanted.is_empty() {
        return Ok(all.to_vec());
    }
    let find = |name: &String| {
        let group = match name.as_str() {
            "X25519" => NamedGroup::X25519,
            "CurveP256" => NamedGroup::secp256r1,
            "CurveP384" => NamedGroup::secp384r1,
            _ => NamedGroup::Unknown(0),
        };
        all.iter().copied().find(|known| known.name() == group).ok_or_else(|| {
            format!("curve_preferences: {name} is not spoken here; there are X25519, CurveP256 and CurveP384")
        })
    };
    wanted.iter().map(find).collect()
}

/// Go's five, by what they ask of a client.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Policy {
    /// Nothing.
    No,
    /// A certificate if it has one, from any issuer.
    Request,
    /// A certificate from any issuer.
    RequireAny,
    /// If it has one, one that is verified.
    VerifyIfGiven,
    /// One that is verified.
    RequireAndVerify,
}

impl Policy {
    fn parse(name: &str) -> Result<Self, String> {
        match name {
            "" | "NoClientCert" => Ok(Self::No),
            "RequestClientCert" => Ok(Self::Request),
            // The second name is from the toolkit's past.
            "RequireAnyClientCert" | "RequireClientCert" => Ok(Self::RequireAny),
            "VerifyClientCertIfGiven" => Ok(Self::VerifyIfGiven),
            "RequireAndVerifyClientCert" => Ok(Self::RequireAndVerify),
            _ => Err("client_auth_type: there are NoClientCert, RequestClientCert, RequireAnyClientCert, VerifyClientCertIfGiven and RequireAndVerifyClientCert".into()),
        }
    }

    fn demands(self) -> bool {
        matches!(self, Self::RequireAny | Self::RequireAndVerify)
    }

    fn verifies(self) -> bool {
        matches!(self, Self::VerifyIfGiven | Self::RequireAndVerify)
    }
}

fn verifier(
    policy: Policy,
    authorities: Option<&[u8]>,
    sans: Vec<String>,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, String> {
    match (policy, authorities) {
        (Policy::No, Some(_)) => {
            Err("client_ca_file is given without client_auth_type: RequireAndVerifyClientCert".into())
        }
        (Policy::No, None) => Ok(None),
        (Policy::Request | Policy::RequireAny, Some(_)) => {
            Err("client_ca_file: this client_auth_type verifies nothing; it takes RequireAndVerifyClientCert".into())
        }
        (Policy::Request | Policy::RequireAny, None) => {
            Ok(Some(Arc::new(AnyCertificate { provider: Arc::clone(provider), mandatory: policy.demands() })))
        }
        (_, None) => Err(
            "client_ca_file is missing: it says whose certificates are accepted (the system's authorities are never taken for that)".into(),
        ),
        (_, Some(pem)) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(pem, "client_ca_file")? {
                roots
                    .add(certificate)
                    .map_err(|error| format!("client_ca_file holds a certificate that cannot be used: {error}"))?;
            }
            let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
            let builder = if policy.demands() { builder } else { builder.allow_unauthenticated() };
            let verifier = builder.build().map_err(|error| format!("client_ca_file: {error}"))?;
            match sans.is_empty() {
                true => Ok(Some(verifier)),
                false => Ok(Some(Arc::new(AllowedSans { verifier, sans }))),
            }
        }
    }
}

/// Takes any certificate; that the client has its key is verified.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
    mandatory: bool,
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Beside what the verifier asks, one of the certificate's names must be one of these.
#[derive(Debug)]
struct AllowedSans {
    verifier: Arc<dyn ClientCertVerifier>,
    sans: Vec<String>,
}

impl ClientCertVerifier for AllowedSans {
    fn offer_client_auth(&self) -> bool {
        self.verifier.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.verifier.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .verifier
            .verify_client_cert(end_entity, intermediates, now)?;
        match names(end_entity)
            .iter()
            .any(|name| self.sans.contains(name))
        {
            true => Ok(verified),
            false => Err(Error::InvalidCertificate(
                CertificateError::ApplicationVerificationFailure,
            )),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// The alternative names of a certificate, as the toolkit writes them.
fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else {
        return Vec::new();
    };
    let Ok(Some(found)) = parsed.subject_alternative_name() else {
        return Vec::new();
    };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(text) | GeneralName::RFC822Name(text) | GeneralName::URI(text) => {
            Some((*text).to_owned())
        }
        GeneralName::IPAddress(bytes) => {
            match (<[u8; 4]>::try_from(*bytes), <[u8; 16]>::try_from(*bytes)) {
                (Ok(v4), _) => Some(std::net::Ipv4Addr::from(v4).to_string()),
                (_, Ok(v6)) => Some(std::net::Ipv6Addr::from(v6).to_string()),
                _ => None,
            }
        }
        _ => None,
    };
    found.value.general_names.iter().filter_map(name).collect()
}
