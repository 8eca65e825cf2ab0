//! The machines' network: a bridge with an address range, a tap a machine, rules, a resolver.
//!
//! It is there while a machine is: made with the first one, removed with the last one.

mod conntrack;
mod forwarding;
mod link;
mod resolver;
mod rules;
mod subnet;
mod tap;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;

use rustix::thread::CapabilitySet;
use tokio::sync::Mutex;

use super::HostError;
use forwarding::Forwarding;
use resolver::Resolver;

pub use rules::Published;
pub use subnet::Subnet;

/// The bridge's name.
pub const BRIDGE: &str = "bulkhead0";
/// How a tap's name starts.
const TAP_PREFIX: &str = "bh-";

/// A machine's place on the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its tap.
    pub tap: String,
    /// For how many queues that is.
    pub queues: u8,
    /// Its MAC address.
    pub mac: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Ports of the host that lead to it.
    pub ports: Vec<Published>,
}

impl Endpoint {
    /// The place of the machine with that id and address.
    pub fn new(id: &str, address: Ipv4Addr, ports: Vec<Published>) -> Self {
        Self { tap: tap_name(id), queues: 1, mac: mac_of(address), address, ports }
    }

    /// The same with a tap for so many queues, when one is made.
    pub fn with_queues(self, queues: u8) -> Self {
        Self { queues, ..self }
    }
}

/// The tap of a machine. An id has 12 digits; a link's name has at most 15 characters.
fn tap_name(id: &str) -> String {
    format!("{TAP_PREFIX}{id}")
}

/// A locally administered address that is as unique as the IPv4 address.
pub fn mac_of(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("02:bb:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// This process may make links, addresses and rules.
fn may_make_links() -> bool {
    let sets = rustix::thread::capabilities(None);
    sets.is_ok_and(|sets| sets.effective.contains(CapabilitySet::NET_ADMIN))
}

/// The one owner of the bridge, the taps and the rules.
#[derive(Debug)]
pub struct Network {
    subnet: Subnet,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    endpoints: BTreeMap<String, Endpoint>,
    forwarding: Forwarding,
    resolver: Option<Resolver>,
}

/// What a guest is told of its network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The range's prefix length.
    pub prefix: u8,
    /// The default gateway.
    pub gateway: Ipv4Addr,
    /// The resolver, if the host has one to offer.
    pub resolver: Option<Ipv4Addr>,
}

impl Network {
    /// Not there yet. `memory` is the file that says what was changed on the host.
    pub fn new(subnet: Subnet, memory: PathBuf) -> Self {
        let state =
            State { endpoints: BTreeMap::new(), forwarding: Forwarding::remembered(memory), resolver: None };
        Self { subnet, state: Mutex::new(state) }
    }

    /// Its range.
    pub fn subnet(&self) -> Subnet {
        self.subnet
    }

    /// What a guest behind passt is told: passt itself is the gateway, and stands for the host's resolver where no
    /// guest could reach that.
    pub fn route_by_passt(&self) -> Route {
        let gateway = self.subnet.gateway();
        let resolver = resolver::reachable_server().or_else(|| resolver::any_server().then_some(gateway));
        Route { prefix: self.subnet.prefix(), gateway, resolver }
    }

    /// Adds a machine: bridge, tap, rules, resolver. On an error nothing of the machine is left.
    pub async fn attach(&self, id: &str, endpoint: Endpoint) -> Result<Route, HostError> {
        if !may_make_links() {
            return Err(HostError::NoBridge);
        }
        let mut state = self.state.lock().await;
        let added = self.add(&mut state, id, endpoint, true).await;
        if added.is_err() {
            // The first error is the one to tell.
            let _ = self.remove(&mut state, id).await;
        }
        added
    }

    /// Takes over a machine that a former daemon attached.
    pub async fn adopt(&self, id: &str, endpoint: Endpoint) -> Result<Route, HostError> {
        let mut state = self.state.lock().await;
        self.add(&mut state, id, endpoint, false).await
    }

    /// Removes a machine. Its connections are reset. That it is not there is no error.
    pub async fn detach(&self, id: &str) -> Result<(), HostError> {
        let mut state = self.state.lock().await;
        self.remove(&mut state, id).await
    }

    /// Who publishes this port of the host, if any.
    pub async fn publisher(&self, wanted: &Published) -> Option<String> {
        let state = self.state.lock().await;
        let mut taken = state.endpoints.iter();
        let owner = taken.find(|(_, endpoint)| endpoint.ports.iter().any(|port| port.collides(wanted)));
        owner.map(|(id, _)| id.clone())
    }

    /// Removes what no machine of these needs: taps without an owner; everything when there is no machine.
    pub async fn sweep(&self, keep: &BTreeSet<String>) -> Result<(), HostError> {
        // Whoever may not make links has made none: what is there is another's.
        if !may_make_links() {
            return Ok(());
        }
        let mut state = self.state.lock().await;
        let links = link::Links::connect()?;
        let wanted: BTreeSet<String> = keep.iter().map(|id| tap_name(id)).collect();
        for name in links.names().await? {
            if name.starts_with(TAP_PREFIX) && !wanted.contains(&name) {
                links.remove(&name).await?;
            }
        }
        if keep.is_empty() && links.index(BRIDGE).await?.is_some() {
            self.tear_down(&mut state, &links).await?;
        }
        Ok(())
    }

    async fn add(
        &self,
        state: &mut State,
        id: &str,
        endpoint: Endpoint,
        fresh: bool,
    ) -> Result<Route, HostError> {
        let links = link::Links::connect()?;
        self.bring_up(state, &links).await?;
        if fresh {
            links.remove(&endpoint.tap).await?;
            tap::make(&endpoint.tap, endpoint.queues)?;
        }
        links.enslave(&endpoint.tap, BRIDGE).await?;
        state.endpoints.insert(id.to_owned(), endpoint);
        self.write_rules(state).await?;
        Ok(Route {
            prefix: self.subnet.prefix(),
            gateway: self.subnet.gateway(),
            resolver: match &state.resolver {
                Some(_) => Some(self.subnet.gateway()),
                None => resolver::reachable_server(),
            },
        })
    }

    async fn remove(&self, state: &mut State, id: &str) -> Result<(), HostError> {
        let endpoint = state.endpoints.remove(id);
        if endpoint.is_none() && !may_make_links() {
            return Ok(());
        }
        let links = link::Links::connect()?;
        links.remove(&tap_name(id)).await?;
        let Some(endpoint) = endpoint else { return Ok(()) };
        if state.endpoints.is_empty() {
            self.tear_down(state, &links).await?;
        } else {
            self.write_rules(state).await?;
        }
        conntrack::forget(endpoint.address);
        Ok(())
    }

    async fn write_rules(&self, state: &State) -> Result<(), HostError> {
        let script = rules::render(self.subnet, state.endpoints.values(), &state.forwarding.interfaces());
        rules::load(&script).await
    }

    async fn bring_up(&self, state: &mut State, links: &link::Links) -> Result<(), HostError> {
        if links.index(BRIDGE).await?.is_none() {
            self.subnet.refuse_collision(BRIDGE)?;
            let mac = mac_of(self.subnet.gateway());
            links.make_bridge(BRIDGE, &mac, self.subnet.gateway(), self.subnet.prefix()).await?;
        }
        forwarding::prepare_bridge(BRIDGE)?;
        let names = links.names().await?;
        state.forwarding.enable(BRIDGE, TAP_PREFIX, &names)?;
        if state.resolver.is_none() {
            match Resolver::start(self.subnet.gateway()).await {
                Ok(resolver) => state.resolver = Some(resolver),
                Err(error) => tracing::warn!("The resolver for machines does not run: {error}"),
            }
        }
        Ok(())
    }

    async fn tear_down(&self, state: &mut State, links: &link::Links) -> Result<(), HostError> {
        state.resolver = None;
        links.remove(BRIDGE).await?;
        rules::unload().await?;
        state.forwarding.restore()
    }
}

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
