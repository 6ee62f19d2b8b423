//! Where a name leads, by the resolver that every other program of this Pod uses.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

/// Longest that a look-up may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// Most addresses of one name that are looked at.
const ADDRESSES: usize = 32;
/// Longest name of DNS, in bytes (RFC 1035).
const NAME: usize = 253;

/// The addresses of a name, or why nobody can say.
pub(super) async fn look_up(name: &str) -> Result<Vec<String>, String> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(vec![address.to_string()]);
    }
    let letters = |letter: u8| letter.is_ascii_alphanumeric() || matches!(letter, b'-' | b'.' | b'_');
    if name.is_empty() || name.len() > NAME || !name.bytes().all(letters) {
        return Err("it is no name that DNS could know".to_owned());
    }
    // The port is part of the call, not of the question.
    let found = match tokio::time::timeout(DEADLINE, tokio::net::lookup_host((name, 443))).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return Err(crate::call::clean(&format!("the look-up of {name} failed: {error}"))),
        Err(_) => return Err(format!("the look-up of {name} took more than {} s", DEADLINE.as_secs())),
    };
    let addresses: BTreeSet<String> = found.map(|address| address.ip().to_canonical().to_string()).collect();
    if addresses.is_empty() {
        return Err(format!("{name} has no address"));
    }
    Ok(addresses.into_iter().take(ADDRESSES).collect())
}
