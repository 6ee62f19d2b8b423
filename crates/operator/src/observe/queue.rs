//! Who holds the platform and who waits for it. Reading only.

use k8s_openapi::api::coordination::v1::Lease;
use kkp_upgrade_api::KKPUpgradeObject;
use kkp_upgrade_core::decide::waits_for_queue;
use kkp_upgrade_core::facts::{Known, LeaseFacts, ObjectFacts, OtherUpgrade};
use kkp_upgrade_core::phase::Phase;
use kkp_upgrade_core::request::Request;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::known;
use crate::call::call;
use crate::context::{ACTIVE_LEASE, Context};

/// The platform's lease and the other upgrades, oldest first.
pub(super) async fn read(context: &Context, own: &ObjectFacts) -> (Known<LeaseFacts>, Known<Vec<OtherUpgrade>>) {
    let leases = Api::<Lease>::namespaced(context.client.clone(), &context.namespace);
    let upgrades = Api::<KKPUpgradeObject>::namespaced(context.client.clone(), &context.namespace);
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
        terminal: status
            .as_ref()
            .is_some_and(|status| status.phase().is_some_and(Phase::is_terminal)),
    }
}
