//! Ports of the host.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};

use super::network::Published;

/// A process of the host listens on the port, or the address is not the host's.
pub fn refusal(port: &Published) -> Option<String> {
    let address = SocketAddrV4::new(port.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED), port.host_port);
    match TcpListener::bind(address) {
        Ok(_) => None,
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            Some(format!("A process of the host listens on port {address} already"))
        }
        Err(error) => Some(format!("Port {address} of the host cannot be published: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_refused() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let host_port = listener.local_addr().unwrap().port();
        let all = Published { host_ip: None, host_port, guest_port: 1 };
        assert!(refusal(&all).unwrap().contains("already"));
        drop(listener);
        assert_eq!(refusal(&all), None);
        let foreign = Published { host_ip: Some(Ipv4Addr::new(203, 0, 113, 9)), ..all };
        assert!(refusal(&foreign).is_some());
    }
}
