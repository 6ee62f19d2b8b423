//! Readiness of a running container.
//!
//! Startup and readiness probes are honoured, liveness probes are ignored. Lab time is short: `periodSeconds` and
//! `initialDelaySeconds` count as at most one second, thresholds count as written. HTTPS probes only connect.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::sandbox::{ContainerSpec, ExecSpec, exec};

/// Longest pause of the lab where a Pod asks for a longer one.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Calls `report(started, ready)` at every change, for as long as it is polled.
pub(super) async fn watch(
    container: &Container,
    spec: &ContainerSpec,
    pid: i32,
    address: Ipv4Addr,
    report: impl Fn(bool, bool),
) -> Infallible {
    if let Some(probe) = &container.startup_probe {
        report(false, false);
        succeed_once(container, probe, spec, pid, address).await;
    }
    let Some(probe) = &container.readiness_probe else {
        report(true, true);
        return std::future::pending().await;
    };
    report(true, false);
    tokio::time::sleep(pause(probe.initial_delay_seconds, 0)).await;
    let (mut ready, mut in_a_row) = (false, 0);
    loop {
        let passed = check(container, probe, spec, pid, address).await;
        in_a_row = if passed == ready { 0 } else { in_a_row + 1 };
        let threshold = if ready {
            probe.failure_threshold.unwrap_or(3)
        } else {
            probe.success_threshold.unwrap_or(1)
        };
        if in_a_row >= threshold {
            (ready, in_a_row) = (passed, 0);
            report(true, ready);
        }
        tokio::time::sleep(pause(probe.period_seconds, 1)).await;
    }
}

async fn succeed_once(container: &Container, probe: &Probe, spec: &ContainerSpec, pid: i32, address: Ipv4Addr) {
    while !check(container, probe, spec, pid, address).await {
        tokio::time::sleep(pause(probe.period_seconds, 1)).await;
    }
}

fn pause(seconds: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(
        seconds
            .and_then(|seconds| u64::try_from(seconds).ok())
            .unwrap_or(default),
    )
    .min(LONGEST_PAUSE)
}

async fn check(container: &Container, probe: &Probe, spec: &ContainerSpec, pid: i32, address: Ipv4Addr) -> bool {
    let seconds = probe
        .timeout_seconds
        .and_then(|seconds| u64::try_from(seconds).ok())
        .unwrap_or(1)
        .max(1);
    let deadline = Duration::from_secs(seconds);
    if let Some(action) = &probe.exec {
        return exec(
            &exec_spec(spec, pid, action.command.clone().unwrap_or_default()),
            deadline,
        )
        .await;
    }
    let tried = async {
        if let Some(action) = &probe.http_get {
            let port = port(container, &action.port)?;
            let plain = action.scheme.as_deref() != Some("HTTPS");
            let path = action.path.as_deref().unwrap_or("/");
            return if plain {
                http_get(address, port, path).await
            } else {
                connect(address, port).await.map(drop)
            };
        }
        if let Some(action) = &probe.tcp_socket {
            return connect(address, port(container, &action.port)?).await.map(drop);
        }
        let action = probe.grpc.as_ref()?;
        connect(address, u16::try_from(action.port).ok()?).await.map(drop)
    };
    matches!(tokio::time::timeout(deadline, tried).await, Ok(Some(())))
}

/// A program to run in this container.
pub(super) fn exec_spec(spec: &ContainerSpec, pid: i32, argv: Vec<String>) -> ExecSpec {
    ExecSpec {
        pid,
        argv,
        environment: spec.environment.clone(),
        credentials: spec.credentials.clone(),
        working_directory: spec.working_directory.clone(),
    }
}

fn port(container: &Container, port: &IntOrString) -> Option<u16> {
    match port {
        IntOrString::Int(number) => u16::try_from(*number).ok(),
        IntOrString::String(name) => {
            let named = container
                .ports
                .iter()
                .flatten()
                .find(|port| port.name.as_ref() == Some(name));
            named.map_or_else(|| name.parse().ok(), |port| u16::try_from(port.container_port).ok())
        }
    }
}

async fn connect(address: Ipv4Addr, port: u16) -> Option<TcpStream> {
    TcpStream::connect((address, port)).await.ok()
}

async fn http_get(address: Ipv4Addr, port: u16, path: &str) -> Option<()> {
    let mut stream = connect(address, port).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}:{port}\r\nUser-Agent: kube-probe/lab\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut head = Vec::new();
    while !head.contains(&b'\n') && stream.read_buf(&mut head).await.ok()? > 0 {}
    let line = String::from_utf8_lossy(&head);
    let code: u16 = line.split_whitespace().nth(1)?.parse().ok()?;
    (200..400).contains(&code).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn an_http_probe_passes_by_the_code_only() {
        for (answer, passes) in [("200 OK", true), ("302 Found", true), ("500 Oh", false)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let server = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut asked = [0; 64];
                let _ = stream.read(&mut asked).await.unwrap();
                stream
                    .write_all(format!("HTTP/1.1 {answer}\r\n\r\n").as_bytes())
                    .await
                    .unwrap();
            });
            assert_eq!(
                http_get(Ipv4Addr::LOCALHOST, port, "/healthz").await.is_some(),
                passes,
                "{answer}"
            );
            server.await.unwrap();
        }
    }
}
