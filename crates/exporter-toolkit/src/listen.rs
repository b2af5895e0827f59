//! Listening on the addresses of `--web.listen-address`.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::TcpListener;

/// Why an address cannot be listened on.
#[derive(Debug)]
#[non_exhaustive]
pub enum BindError {
    /// There is no address at all.
    NoAddress,
    /// The address is not `host:port`, `:port` or `[ipv6]:port`.
    Syntax {
        /// The address as given.
        address: String,
    },
    /// The host name has no address.
    Resolve {
        /// The address as given.
        address: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// Another program, or this one, already listens there.
    InUse {
        /// The address as given.
        address: String,
    },
    /// The port needs a privilege that the process does not have.
    Denied {
        /// The address as given.
        address: String,
    },
    /// Any other reason, such as an address that is not this machine's.
    Other {
        /// The address as given.
        address: String,
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddress => f.write_str("no address to listen on: set --web.listen-address"),
            Self::Syntax { address } => {
                write!(
                    f,
                    "--web.listen-address {address:?} must look like host:port, :port or [::1]:port"
                )
            }
            Self::Resolve { address, source } => {
                write!(
                    f,
                    "cannot resolve --web.listen-address {address:?}: {source}"
                )
            }
            Self::InUse { address } => write!(
                f,
                "cannot listen on {address}: the port is already in use; stop the other program \
                 or choose another port with --web.listen-address"
            ),
            Self::Denied { address } => write!(
                f,
                "cannot listen on {address}: permission denied; choose a port of 1024 or above \
                 with --web.listen-address"
            ),
            Self::Other { address, source } => {
                write!(
                    f,
                    "cannot listen on {address}: {source}; check --web.listen-address"
                )
            }
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Resolve { source, .. } | Self::Other { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Listens on every address, or on none.
///
/// An address is `host:port`, `[ipv6]:port`, or `:port` for every interface,
/// over IPv6 and IPv4 where the machine has both. Of a host name with several
/// addresses the first usable one counts, IPv4 before IPv6. Port 0 lets the
/// system choose.
///
/// # Errors
///
/// A [`BindError`] naming the first address that cannot be used and what to
/// change; also when `addresses` is empty.
pub async fn bind(addresses: &[String]) -> Result<Vec<TcpListener>, BindError> {
    if addresses.is_empty() {
        return Err(BindError::NoAddress);
    }
    let mut listeners = Vec::new();
    for address in addresses {
        bind_one(address, &mut listeners).await?;
    }
    Ok(listeners)
}

async fn bind_one(address: &str, listeners: &mut Vec<TcpListener>) -> Result<(), BindError> {
    let given = || address.to_owned();
    let syntax = || BindError::Syntax { address: given() };
    let (host, port) = address.rsplit_once(':').ok_or_else(syntax)?;
    if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(syntax());
    }
    let port: u16 = port.parse().map_err(|_| syntax())?;
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { address: given() },
        io::ErrorKind::PermissionDenied => BindError::Denied { address: given() },
        _ => BindError::Other {
            address: given(),
            source,
        },
    };
    if host.is_empty() {
        return every_interface(port, listeners).await.map_err(failed);
    }
    let mut candidates: Vec<SocketAddr> = if let Some(bracketed) = host.strip_prefix('[') {
        let inner = bracketed.strip_suffix(']').ok_or_else(syntax)?;
        let address: Ipv6Addr = inner.parse().map_err(|_| syntax())?;
        vec![(address, port).into()]
    } else if host.contains([':', ']', '/', '@']) || host.contains(char::is_whitespace) {
        return Err(syntax());
    } else {
        tokio::net::lookup_host((host, port))
            .await
            .map_err(|source| BindError::Resolve {
                address: given(),
                source,
            })?
            .collect()
    };
    candidates.sort_by_key(SocketAddr::is_ipv6);
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for candidate in candidates {
        match TcpListener::bind(candidate).await {
            Ok(listener) => {
                listeners.push(listener);
                return Ok(());
            }
            // Going on to the next address would hide what the user must fix.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(failed(error)),
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

async fn every_interface(port: u16, listeners: &mut Vec<TcpListener>) -> io::Result<()> {
    let v4 = IpAddr::from(Ipv4Addr::UNSPECIFIED);
    match TcpListener::bind((IpAddr::from(Ipv6Addr::UNSPECIFIED), port)).await {
        Ok(v6) => {
            let port = v6.local_addr()?.port();
            listeners.push(v6);
            // Where `[::]` takes IPv4 too, which is the default, this address
            // is now in use; where it does not, it is needed.
            listeners.extend(TcpListener::bind((v4, port)).await.ok());
        }
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
        // A machine without IPv6.
        Err(_) => listeners.push(TcpListener::bind((v4, port)).await?),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
