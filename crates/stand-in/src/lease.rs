//! Leader election by a Lease, so that old and new process never act at the same time during a roll-out. KKP's controllers
//! elect leaders the same way; the times here are shorter. Writes one Lease.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};

use crate::Error;
use crate::cluster_access::call;

const DURATION_SECONDS: i32 = 6;
const RENEW: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(250);

/// One contender for one Lease.
pub(crate) struct LeaderLease {
    leases: Api<Lease>,
    name: String,
    identity: String,
}

impl LeaderLease {
    pub(crate) fn new(client: Client, namespace: &str, name: String) -> Self {
        let identity = format!("{}-{}", std::process::id(), Timestamp::now().as_nanosecond());
        Self {
            leases: Api::namespaced(client, namespace),
            name,
            identity,
        }
    }

    /// Waits until this process holds the Lease.
    pub(crate) async fn acquire(&self) {
        loop {
            match self.try_hold().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::debug!(%error, "cannot take the lease yet"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Renews the Lease; returns only when it is lost.
    pub(crate) async fn keep(&self) -> Error {
        let mut renewed = Timestamp::now();
        loop {
            tokio::time::sleep(RENEW).await;
            match self.try_hold().await {
                Ok(true) => renewed = Timestamp::now(),
                Ok(false) => return Error::LeaseLost(self.name.clone()),
                Err(error) => tracing::warn!(%error, "cannot renew the lease"),
            }
            if seconds_since(renewed) > i64::from(DURATION_SECONDS) {
                return Error::LeaseLost(self.name.clone());
            }
        }
    }

    /// Gives the Lease back, so that the successor need not wait.
    pub(crate) async fn release(&self) {
        let action = format!("release Lease {}", self.name);
        let Ok(mut lease) = call(&action, self.leases.get(&self.name)).await else {
            return;
        };
        if holder(&lease) == Some(&self.identity) {
            lease.spec = Some(LeaseSpec {
                holder_identity: None,
                ..lease.spec.unwrap_or_default()
            });
            if let Err(error) = call(&action, self.leases.replace(&self.name, &PostParams::default(), &lease)).await {
                tracing::debug!(%error, "the lease runs out by itself");
            }
        }
    }

    async fn try_hold(&self) -> Result<bool, Error> {
        let action = format!("hold Lease {}", self.name);
        let parameters = PostParams::default();
        let Some(mut lease) = call(&action, self.leases.get_opt(&self.name)).await? else {
            let metadata = ObjectMeta {
                name: Some(self.name.clone()),
                ..ObjectMeta::default()
            };
            let lease = Lease {
                metadata,
                spec: Some(self.spec()),
            };
            call(&action, self.leases.create(&parameters, &lease)).await?;
            return Ok(true);
        };
        if !may_hold(&lease, &self.identity, Timestamp::now()) {
            return Ok(false);
        }
        lease.spec = Some(self.spec());
        match call(&action, self.leases.replace(&self.name, &parameters, &lease)).await {
            Err(error) if error.is_conflict() => Ok(false),
            answer => answer.map(|_| true),
        }
    }

    fn spec(&self) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(DURATION_SECONDS),
            renew_time: Some(MicroTime(Timestamp::now())),
            ..LeaseSpec::default()
        }
    }
}

fn holder(lease: &Lease) -> Option<&String> {
    lease
        .spec
        .as_ref()
        .and_then(|spec| spec.holder_identity.as_ref())
        .filter(|holder| !holder.is_empty())
}

fn may_hold(lease: &Lease, identity: &String, now: Timestamp) -> bool {
    let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref());
    let is_expired =
        renewed.is_none_or(|renewed| now.as_second() - renewed.0.as_second() > i64::from(DURATION_SECONDS));
    holder(lease).is_none_or(|holder| holder == identity) || is_expired
}

fn seconds_since(moment: Timestamp) -> i64 {
    Timestamp::now().as_second() - moment.as_second()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: Option<&str>, renewed: i64) -> Lease {
        Lease {
            spec: Some(LeaseSpec {
                holder_identity: holder.map(ToOwned::to_owned),
                renew_time: Some(MicroTime(Timestamp::from_second(renewed).unwrap())),
                ..LeaseSpec::default()
            }),
            ..Lease::default()
        }
    }

    #[test]
    fn a_lease_can_be_taken_only_when_free_own_or_expired() {
        let me = "me".to_owned();
        let now = Timestamp::from_second(100).unwrap();
        assert!(may_hold(&lease(None, 100), &me, now));
        assert!(may_hold(&lease(Some("me"), 99), &me, now));
        assert!(!may_hold(&lease(Some("other"), 95), &me, now));
        assert!(may_hold(&lease(Some("other"), 90), &me, now));
    }
}
