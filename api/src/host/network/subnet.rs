//! The machines' address range.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use crate::host::HostError;

/// An IPv4 range of 8 to 65536 addresses. The first one is the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    network: u32,
    prefix: u8,
}

impl Default for Subnet {
    fn default() -> Self {
        Self { network: Ipv4Addr::new(172, 30, 0, 0).to_bits(), prefix: 24 }
    }
}

impl FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text} is not a range like 172.30.0.0/24");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        if !(16..=29).contains(&prefix) {
            return Err(format!("{text}: a range for machines has a prefix of 16 to 29 bits"));
        }
        let subnet = Self { network: address.to_bits() & mask(prefix), prefix };
        if subnet.network != address.to_bits() {
            return Err(format!("{text} has bits behind its prefix; {subnet} has none"));
        }
        if !address.is_private() && address.octets()[0] != 100 {
            return Err(format!("{text} is not a private range"));
        }
        Ok(subnet)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", Ipv4Addr::from_bits(self.network), self.prefix)
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl Subnet {
    /// The host's address on it.
    pub fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network + 1)
    }

    /// The first address for machines.
    pub fn first_machine(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network + 2)
    }

    /// Its prefix length.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Machines may have this address.
    pub fn has_machine(self, address: Ipv4Addr) -> bool {
        let bits = address.to_bits();
        bits & mask(self.prefix) == self.network && bits > self.network + 1 && bits < self.last()
    }

    /// A free address: the one behind the last that was given out, so that none is used again soon.
    pub fn allocate(self, taken: &[Ipv4Addr], last: Option<Ipv4Addr>) -> Result<Ipv4Addr, HostError> {
        let (first, end) = (self.first_machine().to_bits(), self.last());
        let start = match last {
            Some(last) if self.has_machine(last) => last.to_bits() + 1,
            _ => first,
        };
        (start..end)
            .chain(first..start)
            .map(Ipv4Addr::from_bits)
            .find(|address| !taken.contains(address))
            .ok_or_else(|| HostError::RangeFull { subnet: self.to_string() })
    }

    /// The broadcast address.
    fn last(self) -> u32 {
        self.network | !mask(self.prefix)
    }

    /// Refuses the range where a route that is not the default one leads into it by another link.
    pub fn refuse_collision(self, own_link: &str) -> Result<(), HostError> {
        let table = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
        match self.collision(&table, own_link) {
            Some((route, link)) => Err(HostError::RangeTaken { subnet: self.to_string(), route, link }),
            None => Ok(()),
        }
    }

    /// The first route of a table in the format of `/proc/net/route` that overlaps.
    fn collision(self, table: &str, own_link: &str) -> Option<(String, String)> {
        table.lines().skip(1).find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (link, destination, mask_field) = (*fields.first()?, fields.get(1)?, fields.get(7)?);
            // The kernel prints the number as it lies in memory.
            let destination = u32::from_str_radix(destination, 16).ok()?.swap_bytes();
            let route_mask = u32::from_str_radix(mask_field, 16).ok()?.swap_bytes();
            let both = route_mask & mask(self.prefix);
            let overlaps = route_mask != 0 && destination & both == self.network & both;
            (overlaps && link != own_link).then(|| {
                let route = format!("{}/{}", Ipv4Addr::from_bits(destination), route_mask.count_ones());
                (route, link.to_owned())
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_are_refused() {
        for text in ["", "x", "172.30.0.0", "172.30.0.1/24", "172.30.0.0/8", "172.30.0.0/30", "8.8.8.0/24"] {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
        assert_eq!("10.1.0.0/16".parse::<Subnet>().unwrap().to_string(), "10.1.0.0/16");
    }

    #[test]
    fn addresses_go_round() {
        let subnet: Subnet = "10.0.0.0/29".parse().unwrap();
        let address = |last| Ipv4Addr::new(10, 0, 0, last);
        assert_eq!(subnet.gateway(), address(1));
        let mut taken = Vec::new();
        let mut last = None;
        for expected in 2..=6 {
            let next = subnet.allocate(&taken, last).unwrap();
            assert_eq!(next, address(expected));
            taken.push(next);
            last = Some(next);
        }
        assert!(matches!(subnet.allocate(&taken, last), Err(HostError::RangeFull { .. })));
        taken.remove(1);
        assert_eq!(subnet.allocate(&taken, last).unwrap(), address(3));
        assert_eq!(subnet.allocate(&[], Some(address(4))).unwrap(), address(5), "not used again soon");
        assert_eq!(subnet.allocate(&[], Some(Ipv4Addr::new(1, 2, 3, 4))).unwrap(), address(2));
        assert!(!subnet.has_machine(address(1)) && !subnet.has_machine(address(7)));
    }

    #[test]
    fn a_route_into_the_range_is_found() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\n\
                     eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\n\
                     eth1\t00001EAC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\n";
        let subnet = Subnet::default();
        assert_eq!(subnet.collision(table, "bulkhead0"), Some(("172.30.0.0/16".into(), "eth1".into())));
        assert_eq!(subnet.collision(table, "eth1"), None);
        assert_eq!("10.0.0.0/24".parse::<Subnet>().unwrap().collision(table, "x"), None);
    }
}
