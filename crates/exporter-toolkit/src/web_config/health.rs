//! Asks a server of this machine, under its own web configuration, whether it is healthy.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use crate::client::get_with_config;
use crate::listen::BindError;

use super::file;

/// An answer is longer only where another program listens.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// What to expect of a server: what its `--web.config.file` says.
#[derive(Debug)]
pub struct HealthCheck {
    tls: ClientConfig,
    is_tls: bool,
    demands_client: bool,
    has_users: bool,
    has_rate: bool,
}

impl HealthCheck {
    /// Reads the file that the server's `--web.config.file` names. Blocks.
    ///
    /// # Errors
    ///
    /// A sentence: the file cannot be used.
    pub fn new(web_config: Option<&Path>) -> Result<Self, String> {
        let active = web_config.map(|path| file::read(path).1).transpose()?;
        let tls = active.as_ref().and_then(|active| active.tls.as_ref());
        Ok(Self {
            tls: client_config(tls.map(|tls| &tls.own)).map_err(|error| error.to_string())?,
            is_tls: tls.is_some(),
            demands_client: tls.is_some_and(|tls| tls.demands_client),
            has_users: active
                .as_ref()
                .is_some_and(|active| !active.users.is_empty()),
            has_rate: active.is_some_and(|active| active.rate.is_some()),
        })
    }

    /// Asks for `path` on an address of `--web.listen-address`. Where the server wants a password
    /// or a certificate of the client, which are not known here, it is enough that it says so.
    ///
    /// # Errors
    ///
    /// A sentence: the address cannot be asked, or there was no such answer within the time.
    pub async fn ask(&self, address: &str, path: &str, timeout: Duration) -> Result<(), String> {
        let reachable = reachable(address)?;
        if self.demands_client {
            let handshake = tokio::time::timeout(timeout, self.handshake(&reachable));
            return match handshake.await {
                Ok(result) => result.map_err(|error| format!("{address}: {error}")),
                Err(_) => Err(format!("{address}: no TLS within {timeout:?}")),
            };
        }
        let scheme = if self.is_tls { "https" } else { "http" };
        let url = format!("{scheme}://{reachable}{path}");
        match get_with_config(&url, self.tls.clone(), timeout, MAX_ANSWER_BYTES).await {
            Ok((200, _)) => Ok(()),
            Ok((401, _)) if self.has_users => Ok(()),
            Ok((429, _)) if self.has_rate => Ok(()),
            Ok((status, _)) => Err(format!("{address} answers with status {status}")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The server shows its certificate, and goes on only with one of the client.
    async fn handshake(&self, reachable: &str) -> io::Result<()> {
        let stream = TcpStream::connect(reachable).await?;
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let connector = TlsConnector::from(Arc::new(self.tls.clone()));
        match connector.connect(name, stream).await {
            Err(error) if !is_alert(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

/// Whether it was the server that ended the handshake, for want of a certificate.
fn is_alert(error: &io::Error) -> bool {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    matches!(inner, Some(Error::AlertReceived(_)))
}

/// An address to connect to, for one that is listened on.
fn reachable(address: &str) -> Result<String, String> {
    let syntax = || {
        let address = address.to_owned();
        BindError::Syntax { address }.to_string()
    };
    let (host, port) = address.rsplit_once(':').ok_or_else(syntax)?;
    if port.parse::<u16>().map_or(true, |port| port == 0) {
        return Err(syntax());
    }
    let host = match host {
        // IPv4 is listened on as well.
        "" | "0.0.0.0" => "127.0.0.1",
        "[::]" => "[::1]",
        host => host,
    };
    Ok(format!("{host}:{port}"))
}

fn client_config(own: Option<&CertificateDer<'static>>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    Ok(match own {
        Some(own) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(OwnCertificate {
                own: own.clone(),
                provider,
            }))
            .with_no_client_auth(),
        None => builder
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth(),
    })
}

/// Accepts the certificate in the web configuration and no other. It is for another name than
/// the loopback address, and who issued it does not matter.
#[derive(Debug)]
struct OwnCertificate {
    own: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for OwnCertificate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match *end_entity == self.own {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests;
