//! A relay in front of a server: everything goes through it, and what it does with that can be changed while it runs. So
//! a partition is made between two programs without rights on the machine's network. TLS passes through unread.
//!
//! Talks to the one server that it was given, and only for somebody who connects. Ends with its value.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// What a relay does with what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayMode {
    /// Everything goes through.
    Pass,
    /// Connections are accepted and kept, and nothing goes through: a firewall that drops packets. What was sent
    /// meanwhile arrives after the partition.
    Drop,
    /// Connections, new ones too, are reset.
    Reset,
    /// What the client sends arrives, and no answer comes back.
    OneWay,
    /// By turns `Pass` and `Reset`, each for so long.
    Flapping(Duration),
    /// Answers come back with one byte a second.
    Slow,
}

/// What stands at this moment: a mode without its own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    Shut,
    Reset,
    OneWay,
    Slow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Answer,
}

/// Bytes that are read at once.
const CHUNK: usize = 16 * 1024;
/// Pause after each byte of a slow answer.
const SLOW: Duration = Duration::from_secs(1);

/// A relay.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    mode: watch::Sender<RelayMode>,
    connections: Arc<AtomicU64>,
    task: AbortHandle,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    /// Starts a relay to `server` on a free port of this machine. It passes everything at first.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let mode = watch::Sender::new(RelayMode::Pass);
        let connections = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(serve(listener, server, mode.subscribe(), connections.clone()));
        Ok(Self {
            address,
            mode,
            connections,
            task: task.abort_handle(),
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on does as `mode` says, with the connections that are there too.
    pub fn set(&self, mode: RelayMode) {
        self.mode.send_replace(mode);
    }

    /// How many connections have been accepted.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// A kubeconfig for the server as one that goes through the relay; the server's certificate has to be good for
    /// 127.0.0.1.
    #[must_use]
    pub fn kubeconfig(&self, text: &str, server: &str) -> String {
        text.replace(server, &format!("https://{}", self.address))
    }
}

async fn serve(
    listener: TcpListener,
    server: SocketAddr,
    mode: watch::Receiver<RelayMode>,
    connections: Arc<AtomicU64>,
) {
    let gate = watch::Sender::new(Gate::Open);
    // Both end when the relay's task is dropped.
    let mut tasks = JoinSet::new();
    tasks.spawn(drive(mode, gate.clone()));
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        connections.fetch_add(1, Ordering::Relaxed);
        tasks.spawn(connection(client, server, gate.subscribe()));
        while tasks.try_join_next().is_some() {}
    }
}

/// Turns the mode into what stands at the moment.
async fn drive(mut mode: watch::Receiver<RelayMode>, gate: watch::Sender<Gate>) {
    loop {
        let now = *mode.borrow_and_update();
        let stand = match now {
            RelayMode::Pass => Gate::Open,
            RelayMode::Drop => Gate::Shut,
            RelayMode::Reset => Gate::Reset,
            RelayMode::OneWay => Gate::OneWay,
            RelayMode::Slow => Gate::Slow,
            RelayMode::Flapping(each) => {
                let turned = tokio::time::timeout(each, mode.changed()).await;
                if let Ok(changed) = turned {
                    if changed.is_err() {
                        return;
                    }
                    continue;
                }
                let next = if *gate.borrow() == Gate::Reset {
                    Gate::Open
                } else {
                    Gate::Reset
                };
                gate.send_replace(next);
                continue;
            }
        };
        gate.send_replace(stand);
        if mode.changed().await.is_err() {
            return;
        }
    }
}

async fn connection(mut client: TcpStream, server: SocketAddr, mut gate: watch::Receiver<Gate>) {
    // Nobody behind a shut gate has heard of the connection.
    while *gate.borrow_and_update() == Gate::Shut {
        if gate.changed().await.is_err() {
            return;
        }
    }
    let reset = *gate.borrow() == Gate::Reset;
    let upstream = if reset {
        None
    } else {
        TcpStream::connect(server).await.ok()
    };
    let Some(mut upstream) = upstream else {
        let _ = client.set_zero_linger();
        return;
    };
    let broken = {
        let (client_read, client_write) = client.split();
        let (server_read, server_write) = upstream.split();
        let requests = pump(client_read, server_write, Direction::Request, gate.clone());
        let answers = pump(server_read, client_write, Direction::Answer, gate.clone());
        tokio::try_join!(requests, answers).is_err()
    };
    if broken {
        // Closing without lingering is what sends a reset.
        let _ = client.set_zero_linger();
        let _ = upstream.set_zero_linger();
    }
}

/// Carries one direction until its end.
///
/// # Errors
/// When the connection breaks or is to be broken.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    direction: Direction,
    mut gate: watch::Receiver<Gate>,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = tokio::select! {
            biased;
            end = broken(gate.clone()) => return Err(end),
            count = from.read(&mut buffer) => count?,
        };
        let mut rest = buffer.get(..count).unwrap_or_default();
        if rest.is_empty() {
            passable(&mut gate, direction).await?;
            return to.shutdown().await;
        }
        while !rest.is_empty() {
            let slow = passable(&mut gate, direction).await?;
            let (now, later) = rest.split_at(if slow { 1 } else { rest.len() });
            tokio::select! {
                biased;
                end = broken(gate.clone()) => return Err(end),
                written = to.write_all(now) => written?,
            }
            rest = later;
            if slow {
                let _ = tokio::time::timeout(SLOW, gate.changed()).await;
            }
        }
    }
}

/// Waits until this direction is open; tells whether it is slow.
async fn passable(gate: &mut watch::Receiver<Gate>, direction: Direction) -> io::Result<bool> {
    loop {
        match (*gate.borrow_and_update(), direction) {
            (Gate::Open, _) | (Gate::OneWay | Gate::Slow, Direction::Request) => return Ok(false),
            (Gate::Slow, Direction::Answer) => return Ok(true),
            (Gate::Reset, _) => return Err(io::ErrorKind::ConnectionReset.into()),
            (Gate::Shut, _) | (Gate::OneWay, Direction::Answer) => {}
        }
        if gate.changed().await.is_err() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
    }
}

/// Comes back when connections are to be reset.
async fn broken(mut gate: watch::Receiver<Gate>) -> io::Error {
    match gate.wait_for(|gate| *gate == Gate::Reset).await {
        Ok(_) => io::ErrorKind::ConnectionReset.into(),
        Err(_) => io::ErrorKind::ConnectionAborted.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);
    const SILENCE: Duration = Duration::from_millis(200);

    /// A server that says every byte again, with what it has heard.
    async fn echo() -> (SocketAddr, Arc<AtomicU64>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(AtomicU64::new(0));
        let count = heard.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let count = count.clone();
                tokio::spawn(async move {
                    let mut byte = [0; 1];
                    while stream.read_exact(&mut byte).await.is_ok() {
                        count.fetch_add(1, Ordering::Relaxed);
                        if stream.write_all(&byte).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        (address, heard)
    }

    async fn answer(stream: &mut TcpStream) -> io::Result<u8> {
        let mut byte = [0; 1];
        stream.read_exact(&mut byte).await.map(|_| byte[0])
    }

    async fn silent(stream: &mut TcpStream) -> bool {
        tokio::time::timeout(SILENCE, answer(stream)).await.is_err()
    }

    #[tokio::test]
    async fn it_passes_drops_and_what_was_dropped_arrives_later() {
        let (server, heard) = echo().await;
        let relay = Relay::start(server).await.unwrap();
        let mut stream = TcpStream::connect(relay.address()).await.unwrap();
        stream.write_all(b"a").await.unwrap();
        assert_eq!(answer(&mut stream).await.unwrap(), b'a');
        relay.set(RelayMode::Drop);
        stream.write_all(b"b").await.unwrap();
        let mut new = TcpStream::connect(relay.address()).await.unwrap();
        new.write_all(b"c").await.unwrap();
        assert!(silent(&mut stream).await && silent(&mut new).await);
        assert_eq!(heard.load(Ordering::Relaxed), 1, "the server heard through a partition");
        relay.set(RelayMode::Pass);
        assert_eq!(answer(&mut stream).await.unwrap(), b'b');
        assert_eq!(answer(&mut new).await.unwrap(), b'c');
        assert_eq!(relay.connections(), 2);
    }

    #[tokio::test]
    async fn one_way_lets_the_server_hear_and_the_client_wait() {
        let (server, heard) = echo().await;
        let relay = Relay::start(server).await.unwrap();
        relay.set(RelayMode::OneWay);
        let mut stream = TcpStream::connect(relay.address()).await.unwrap();
        stream.write_all(b"a").await.unwrap();
        assert!(silent(&mut stream).await);
        assert_eq!(heard.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_reset_breaks_old_and_new_connections_and_flapping_heals() {
        let (server, _) = echo().await;
        let relay = Relay::start(server).await.unwrap();
        let mut stream = TcpStream::connect(relay.address()).await.unwrap();
        stream.write_all(b"a").await.unwrap();
        answer(&mut stream).await.unwrap();
        relay.set(RelayMode::Reset);
        let broken = tokio::time::timeout(SOON, answer(&mut stream)).await.unwrap();
        assert_eq!(broken.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        let mut new = TcpStream::connect(relay.address()).await.unwrap();
        assert!(tokio::time::timeout(SOON, answer(&mut new)).await.unwrap().is_err());
        relay.set(RelayMode::Flapping(Duration::from_millis(100)));
        let (mut good, mut bad) = (0, 0);
        let end = tokio::time::Instant::now() + SOON;
        while (good == 0 || bad == 0) && tokio::time::Instant::now() < end {
            let Ok(mut stream) = TcpStream::connect(relay.address()).await else {
                bad += 1;
                continue;
            };
            let _ = stream.write_all(b"a").await;
            match answer(&mut stream).await {
                Ok(_) => good += 1,
                Err(_) => bad += 1,
            }
            tokio::task::yield_now().await;
        }
        assert!(good > 0 && bad > 0, "{good} good, {bad} bad");
    }

    #[tokio::test]
    async fn slow_answers_come_byte_by_byte() {
        let (server, heard) = echo().await;
        let relay = Relay::start(server).await.unwrap();
        relay.set(RelayMode::Slow);
        let mut stream = TcpStream::connect(relay.address()).await.unwrap();
        stream.write_all(b"abc").await.unwrap();
        assert_eq!(answer(&mut stream).await.unwrap(), b'a');
        assert!(silent(&mut stream).await, "the second byte came at once");
        assert_eq!(heard.load(Ordering::Relaxed), 3);
    }
}
