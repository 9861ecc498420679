//! What this node would ask for when it joins: its settings, completed by what the machine says of itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::{
    capability::Capability,
    config::Config,
    credentials::Joining,
    engines::engines_config,
    home::Home,
    inventory,
    join::{self, TokenFileError},
};

/// Why a join cannot be asked for.
#[derive(Debug, thiserror::Error)]
pub enum ApplicantError {
    /// Nobody to ask.
    #[error(
        "no control plane is named; run muster-node join http://HOST:9080, or set control_plane.registration in node.toml"
    )]
    NoAddress,
    /// The host's name is none.
    #[error(
        "the name of this host cannot be the name of a node ({0}); set node.name in node.toml, or use --name"
    )]
    Name(String),
    /// Nothing to offer.
    #[error(
        "no engine is installed here ({0}); install one, or name what this node will offer with --capability"
    )]
    NoEngine(String),
    /// The join token.
    #[error(transparent)]
    Token(#[from] TokenFileError),
}

/// What a node with these settings asks for.
pub async fn applicant(config: &Config, home: &Home) -> Result<Joining, ApplicantError> {
    if config.registration.is_empty() {
        return Err(ApplicantError::NoAddress);
    }
    let pins = join::pins(&config.join)?;
    let name = if let Some(name) = &config.name {
        name.clone()
    } else {
        let host = inventory::host_name().unwrap_or_default();
        host.parse()
            .map_err(|error| ApplicantError::Name(format!("\"{}\": {error}", host.escape_default())))?
    };
    let capabilities = if config.capabilities.is_empty() {
        let probe = muster_engines::probe(&engines_config(config, home)).await;
        let found: Vec<_> = probe
            .engines
            .iter()
            .filter_map(|engine| Capability::of_engine(engine.kind.name()))
            .collect();
        if found.is_empty() {
            let why: Vec<&str> = probe.missing.iter().map(|missing| missing.why.as_str()).collect();
            return Err(ApplicantError::NoEngine(why.join("; ")));
        }
        found
    } else {
        config.capabilities.clone()
    };
    Ok(Joining {
        registration: config.registration.clone(),
        pins,
        name,
        capabilities,
        pool: config.pool.clone(),
        site: config.site.clone(),
        addresses: addresses(config).await,
        exchange: None,
        previous: None,
        renewal: None,
        former: None,
    })
}

/// The addresses that people see beside the request: those of the settings, else the one by which this machine reaches
/// the control plane. A loopback address is told only where the settings name it.
async fn addresses(config: &Config) -> Vec<String> {
    if !config.addresses.is_empty() {
        return config.addresses.iter().map(ToString::to_string).collect();
    }
    let mut found = Vec::new();
    for control_plane in &config.registration {
        if let Some(address) = own_address(control_plane).await {
            let address = address.to_string();
            if !found.contains(&address) {
                found.push(address);
            }
        }
    }
    found
}

/// The address from which `control_plane` (`host:port`) would be reached. Nothing is sent.
async fn own_address(control_plane: &str) -> Option<IpAddr> {
    let target = tokio::net::lookup_host(control_plane).await.ok()?.next()?;
    let any: SocketAddr = if target.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = tokio::net::UdpSocket::bind(any).await.ok()?;
    socket.connect(target).await.ok()?;
    let own = socket.local_addr().ok()?.ip();
    (!own.is_loopback() && !own.is_unspecified()).then_some(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_loopback_address_is_never_told_by_itself() {
        assert_eq!(own_address("127.0.0.1:9080").await, None);
        assert_eq!(own_address("[::1]:9080").await, None);
        assert_eq!(own_address("no such host:9080").await, None);
    }
}
