//! A resolver on the bridge's address: hands questions on to the host's name servers.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Where the host keeps its name servers.
const CONFIGURATION: &str = "/etc/resolv.conf";
/// Questions by UDP that wait for an answer at once.
const MAX_QUESTIONS: usize = 256;
/// Connections by TCP at once.
const MAX_CONNECTIONS: usize = 32;
/// The largest datagram that is handed on (EDNS clients ask for 1232 or 4096 bytes).
const MAX_DATAGRAM: usize = 4096;
/// How long one name server has time to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a connection may last.
const CONNECTION: Duration = Duration::from_secs(30);
/// A DNS header (RFC 1035, 4.1.1).
const HEADER: usize = 12;
/// The flags of an answer that says "server failure": QR, RD, RA and RCODE 2.
const FAILURE: [u8; 2] = [0x81, 0x82];

/// Runs until it is dropped.
#[derive(Debug)]
pub struct Resolver {
    _tasks: JoinSet<()>,
}

/// The name servers of a resolv.conf(5).
fn servers_in(text: &str) -> Vec<IpAddr> {
    let words = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    words.filter_map(|rest| rest.trim().parse().ok()).take(3).collect()
}

fn servers() -> Vec<IpAddr> {
    servers_in(&std::fs::read_to_string(CONFIGURATION).unwrap_or_default())
}

/// A name server that a machine can reach by itself.
pub fn reachable_server() -> Option<Ipv4Addr> {
    servers().into_iter().find_map(|server| match server {
        IpAddr::V4(address) if !address.is_loopback() => Some(address),
        _ => None,
    })
}

/// The host has a name server.
pub fn any_server() -> bool {
    !servers().is_empty()
}

impl Resolver {
    /// Listens on port 53 of the address.
    pub async fn start(address: Ipv4Addr) -> io::Result<Self> {
        Self::start_at(SocketAddr::from((address, 53)), 53, servers).await
    }

    async fn start_at(
        address: SocketAddr,
        upstream_port: u16,
        servers: fn() -> Vec<IpAddr>,
    ) -> io::Result<Self> {
        let datagrams = Arc::new(UdpSocket::bind(address).await?);
        let connections = TcpListener::bind(datagrams.local_addr()?).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_datagrams(datagrams, upstream_port, servers));
        tasks.spawn(serve_connections(connections, upstream_port, servers));
        Ok(Self { _tasks: tasks })
    }
}

async fn serve_datagrams(socket: Arc<UdpSocket>, port: u16, servers: fn() -> Vec<IpAddr>) {
    let room = Arc::new(Semaphore::new(MAX_QUESTIONS));
    let mut questions = JoinSet::new();
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        while questions.try_join_next().is_some() {}
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else {
            // An error of an earlier answer (its client is gone); not of this socket.
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        };
        // Without room the question is lost, as questions by UDP may be.
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else { continue };
        let Some(question) = buffer.get(..length).filter(|bytes| bytes.len() >= HEADER) else { continue };
        let (question, socket) = (question.to_vec(), Arc::clone(&socket));
        questions.spawn(async move {
            let answer = ask(&question, &servers(), port).await.unwrap_or_else(|| failure(&question));
            let _ = socket.send_to(&answer, client).await;
            drop(permit);
        });
    }
}

/// The first answer of the servers in their order.
async fn ask(question: &[u8], servers: &[IpAddr], port: u16) -> Option<Vec<u8>> {
    for server in servers {
        if let Ok(Ok(answer)) = timeout(PATIENCE, ask_one(question, SocketAddr::from((*server, port)))).await
        {
            return Some(answer);
        }
    }
    None
}

async fn ask_one(question: &[u8], server: SocketAddr) -> io::Result<Vec<u8>> {
    let local: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() };
    // A port of its own a question, and connected: an answer from elsewhere does not get in.
    let socket = UdpSocket::bind((local, 0)).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if buffer.get(..2) == question.get(..2) && length >= HEADER {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

/// The question, as an answer that says "server failure".
fn failure(question: &[u8]) -> Vec<u8> {
    let mut answer = question.to_vec();
    if let Some(flags) = answer.get_mut(2..4) {
        flags.copy_from_slice(&FAILURE);
    }
    answer
}

async fn serve_connections(listener: TcpListener, port: u16, servers: fn() -> Vec<IpAddr>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut relays = JoinSet::new();
    loop {
        while relays.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        relays.spawn(async move {
            let _ = timeout(CONNECTION, relay(client, servers(), port)).await;
            drop(permit);
        });
    }
}

async fn relay(mut client: TcpStream, servers: Vec<IpAddr>, port: u16) {
    for server in servers {
        if let Ok(Ok(mut upstream)) = timeout(PATIENCE, TcpStream::connect((server, port))).await {
            let _ = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_of_a_configuration() {
        let text = "# x\nnameserver 10.0.0.1\n nameserver\t::1\nnameserver bad\nsearch a\noptions b\n";
        assert_eq!(servers_in(text), [IpAddr::from([10, 0, 0, 1]), "::1".parse().unwrap()]);
    }

    fn local() -> Vec<IpAddr> {
        vec![Ipv4Addr::LOCALHOST.into()]
    }

    #[tokio::test]
    async fn a_question_is_answered_by_the_server_or_as_failed() {
        let upstream = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = upstream.local_addr().unwrap().port();
        let socket = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
        let address = socket.local_addr().unwrap();
        let served = tokio::spawn(serve_datagrams(socket, port, local));
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        client.connect(address).await.unwrap();

        client.send(b"too short").await.unwrap();
        client.send(b"idxxxxxxxxxxquestion").await.unwrap();
        let mut buffer = [0; 64];
        let (length, from) = upstream.recv_from(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..length], b"idxxxxxxxxxxquestion");
        upstream.send_to(b"noxxxxxxxxxxforged", from).await.unwrap();
        upstream.send_to(b"idxxxxxxxxxxanswer", from).await.unwrap();
        let length = client.recv(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..length], b"idxxxxxxxxxxanswer");

        drop(upstream);
        client.send(b"idxxxxxxxxxxquestion").await.unwrap();
        let length = client.recv(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..length], b"id\x81\x82xxxxxxxxquestion");
        served.abort();
    }

    #[tokio::test]
    async fn connections_are_relayed() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let upstream = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = upstream.local_addr().unwrap().port();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = tokio::spawn(serve_connections(listener, port, local));
        let mut client = TcpStream::connect(address).await.unwrap();
        let (mut server, _) = upstream.accept().await.unwrap();
        client.write_all(b"ask").await.unwrap();
        let mut buffer = [0; 3];
        server.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"ask");
        drop(server);
        assert_eq!(client.read(&mut buffer).await.unwrap(), 0);
        served.abort();
    }
}
