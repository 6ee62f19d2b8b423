//! Who holds the platform and who waits for it. Reading only.

use k8s_openapi::api::coordination::v1::Lease;
use kkp_upgrade_api::KKPUpgradeObject;
use kkp_upgrade_core::decide::{hop_seconds, waits_for_queue};
use kkp_upgrade_core::facts::{Known, LeaseFacts, ObjectFacts, OtherUpgrade};
use kkp_upgrade_core::request::Request;
use kkp_upgrade_core::status::Status;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::known;
use super::observer::Observer;
use crate::call::call;
use crate::context::ACTIVE_LEASE;

/// The platform's lease and the other upgrades, oldest first.
pub(super) async fn read(observer: &Observer<'_>, own: &ObjectFacts) -> (Known<LeaseFacts>, Known<Vec<OtherUpgrade>>) {
    let leases = Api::<Lease>::namespaced(observer.client.clone(), observer.namespace);
    let upgrades = Api::<KKPUpgradeObject>::namespaced(observer.client.clone(), observer.namespace);
    let everything = ListParams::default();
    let (lease, others) = tokio::join!(
        call(format!("Lease {ACTIVE_LEASE}"), leases.get_opt(ACTIVE_LEASE)),
        call("list of KKPUpgrades", upgrades.list(&everything)),
    );
    let lease = lease.map(|lease| {
        lease.map_or_else(LeaseFacts::default, |lease| LeaseFacts {
            resource_version: lease.resource_version(),
            holder: lease
                .spec
                .and_then(|spec| spec.holder_identity)
                .filter(|holder| !holder.is_empty()),
        })
    });
    let lease = lease.map(|lease| match &others {
        Ok(list) => LeaseFacts {
            holder: holder(&list.items, &own.uid, lease.holder),
            ..lease
        },
        Err(_) => lease,
    });
    let others = others.map(|list| {
        let mut others: Vec<OtherUpgrade> = list
            .items
            .iter()
            .filter(|other| other.uid().as_deref() != Some(&*own.uid))
            .map(other)
            .collect();
        others.sort_by(|left, right| (left.created, &left.uid).cmp(&(right.created, &right.uid)));
        others
    });
    (known(lease), known(others))
}

/// Who has the platform. A lease can be removed or written over; that a run is on cannot: whoever is in the middle of one
/// has the platform, whatever the lease says. Of several, by whatever accident, only the lease tells.
fn holder(all: &[KKPUpgradeObject], own: &str, in_lease: Option<String>) -> Option<String> {
    let runs = |object: &&KKPUpgradeObject| {
        let status = object.parse_status().ok().flatten();
        status.is_some_and(|status| status.is_locked() && !status.has_ended())
    };
    let running: Vec<String> = all.iter().filter(runs).filter_map(ResourceExt::uid).collect();
    if running.iter().any(|uid| uid == own) {
        in_lease.filter(|holder| running.contains(holder))
    } else {
        running.into_iter().next().or(in_lease)
    }
}

/// One of the others. What cannot be read of it counts as running, never as ended: a platform is not taken from it.
fn other(object: &KKPUpgradeObject) -> OtherUpgrade {
    let status = object.parse_status().ok().map(Option::unwrap_or_default);
    let request = object.parse_spec().ok().and_then(|spec| Request::try_from(&spec).ok());
    let facts = super::object_facts(object);
    OtherUpgrade {
        uid: facts.uid,
        name: facts.name,
        created: facts.created,
        waits_for_queue: !facts.deleting
            && status
                .as_ref()
                .is_some_and(|status| waits_for_queue(request.as_ref(), status)),
        terminal: status.as_ref().is_some_and(Status::has_ended),
        hop_seconds: status.map(|status| hop_seconds(&status.history)).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn upgrade(uid: &str, status: &serde_json::Value) -> KKPUpgradeObject {
        serde_json::from_value(
            json!({"metadata": {"name": uid, "namespace": "kubermatic", "uid": uid}, "status": status}),
        )
        .unwrap()
    }

    #[test]
    fn who_is_in_the_middle_of_a_run_has_the_platform_without_a_lease() {
        let waits = upgrade("waits", &json!({"phase": "Preflight"}));
        let runs = upgrade("runs", &json!({"phase": "Deploying", "locked": true}));
        let ended = upgrade("ended", &json!({"phase": "Done", "locked": true}));
        let named = |uid: &str| Some(uid.to_owned());
        let quiet = [ended.clone(), waits.clone()];
        assert_eq!(holder(&quiet, "waits", None), None);
        assert_eq!(holder(&quiet, "waits", named("waits")), named("waits"));
        let all = [ended, waits, runs.clone()];
        for forged in [None, named("waits"), named("forged")] {
            assert_eq!(holder(&all, "waits", forged.clone()), named("runs"));
            assert_eq!(holder(&all, "runs", forged), None, "to be taken again");
        }
        assert_eq!(holder(&all, "runs", named("runs")), named("runs"));
        let another = upgrade("another", &json!({"phase": "Backup", "locked": true}));
        let both = [another, runs];
        assert_eq!(
            holder(&both, "runs", named("another")),
            named("another"),
            "the lease tells"
        );
    }
}
