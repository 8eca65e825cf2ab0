//! Links, by netlink.

use std::net::{IpAddr, Ipv4Addr};

use futures_util::TryStreamExt;
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::{Handle, LinkBridge, LinkUnspec};

use crate::host::HostError;

/// A connection to the kernel's routing netlink.
#[derive(Debug)]
pub struct Links {
    handle: Handle,
    connection: tokio::task::JoinHandle<()>,
}

impl Drop for Links {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

fn failed<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    operation: &'static str,
    link: &str,
) -> impl FnOnce(E) -> HostError {
    move |error| HostError::Link { operation, link: link.to_owned(), source: error.into() }
}

impl Links {
    /// In the network namespace of this thread.
    pub fn connect() -> Result<Self, HostError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(failed("list", "*"))?;
        Ok(Self { handle, connection: tokio::spawn(connection) })
    }

    /// The names of all links.
    pub async fn names(&self) -> Result<Vec<String>, HostError> {
        let mut links = std::pin::pin!(self.handle.link().get().execute());
        let mut names = Vec::new();
        while let Some(message) = links.try_next().await.map_err(failed("list", "*"))? {
            names.extend(message.attributes.into_iter().find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name),
                _ => None,
            }));
        }
        Ok(names)
    }

    /// The index of the link with that name, if there is one.
    pub async fn index(&self, name: &str) -> Result<Option<u32>, HostError> {
        let mut found = std::pin::pin!(self.handle.link().get().match_name(name).execute());
        match found.try_next().await {
            Ok(message) => Ok(message.map(|message| message.header.index)),
            Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -libc::ENODEV => Ok(None),
            Err(error) => Err(failed("find", name)(error)),
        }
    }

    /// Removes a link; that it is not there is no error.
    pub async fn remove(&self, name: &str) -> Result<(), HostError> {
        let Some(index) = self.index(name).await? else { return Ok(()) };
        self.handle.link().del(index).execute().await.map_err(failed("remove", name))
    }

    /// Makes a bridge with an address and sets it up.
    pub async fn make_bridge(
        &self,
        name: &str,
        mac: &str,
        address: Ipv4Addr,
        prefix: u8,
    ) -> Result<(), HostError> {
        let octets = mac.split(':').filter_map(|part| u8::from_str_radix(part, 16).ok()).collect();
        let message = LinkBridge::new(name).address(octets).build();
        self.handle.link().add(message).execute().await.map_err(failed("make", name))?;
        let configured = self.configure_bridge(name, address, prefix).await;
        if configured.is_err() {
            // The first error is the one to tell.
            let _ = self.remove(name).await;
        }
        configured
    }

    async fn configure_bridge(&self, name: &str, address: Ipv4Addr, prefix: u8) -> Result<(), HostError> {
        let index = self.index(name).await?.ok_or_else(|| failed("find", name)("it is gone"))?;
        let added = self.handle.address().add(index, IpAddr::V4(address), prefix).execute().await;
        added.map_err(failed("give an address to", name))?;
        let up = LinkUnspec::new_with_index(index).up().build();
        self.handle.link().change(up).execute().await.map_err(failed("set up", name))
    }

    /// Makes a link a port of a bridge and sets it up.
    pub async fn enslave(&self, name: &str, bridge: &str) -> Result<(), HostError> {
        let missing = |name: &str| failed("find", name)("it is gone");
        let controller = self.index(bridge).await?.ok_or_else(|| missing(bridge))?;
        let index = self.index(name).await?.ok_or_else(|| missing(name))?;
        let message = LinkUnspec::new_with_index(index).controller(controller).up().build();
        self.handle.link().change(message).execute().await.map_err(failed("set up", name))
    }
}
