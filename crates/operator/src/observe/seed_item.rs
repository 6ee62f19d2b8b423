//! One Seed as rules see it: its object, and what was read of its cluster. Pure.

use kkp_upgrade_core::rules::{Documents, Evaluation, Facts as _, Field, ItemKind, Object, SeedFacts};
use kkp_upgrade_kkp::types::Field as Read;
use kkp_upgrade_kkp::types::seed::SKIP_RECONCILING;
use kube::ResourceExt;

use super::capacity::Capacity;
use super::rules::{Reading, SeedReading, optional};

/// Shows a Seed to the rules.
pub(super) fn feed(evaluation: &mut Evaluation, reading: &SeedReading, all: &Reading<'_>) {
    let seed = &reading.seed;
    let name = seed.name_any();
    let condition = |kind: &str| match seed.status.conditions.entry(kind) {
        Read::Set(condition) => optional(&condition.status),
        Read::Unset => Field::Known(None),
        Read::Unreadable { found } => Field::NotRead(format!("condition {kind} is of type {found}")),
    };
    let controller = reading.survey.deployment("kubermatic-seed-controller-manager");
    let read = all.capacities.get(&name);
    let facts = SeedFacts {
        phase: optional(&seed.status.phase),
        version: optional(&seed.status.versions.kubermatic),
        controller_version: Field::from_result(
            controller.map(|found| found.and_then(super::operator_image).and_then(|image| image.tag)),
        ),
        kubeconfig_valid: condition("KubeconfigValid"),
        resources_reconciled: condition("ResourcesReconciled"),
        reachable: reading.client.is_ok().into(),
        reach_error: reading.client.as_ref().err().cloned().into(),
        separate: Field::from_result(reading.separate.clone()),
        skip_reconciling: seed.annotations().contains_key(SKIP_RECONCILING).into(),
        held: false.into(),
        configured_limit: all.configured_limit.clone(),
        client_certificate_ends: match &reading.client {
            Ok(_) => Field::Known(reading.certificate_ends.map(|ends| ends.to_string())),
            Err(why) => Field::NotRead(why.clone()),
        },
        control_plane_room: room(read, Capacity::room),
        control_planes: room(read, Capacity::control_planes),
        cpu_requested_percent: room(read, Capacity::percent).map(|(cpu, _)| cpu),
        memory_requested_percent: room(read, Capacity::percent).map(|(_, memory)| memory),
    };
    let object = match &all.seed_objects {
        Ok(objects) => objects
            .get(&name)
            .ok_or_else(|| "it was deleted in the meantime".to_owned()),
        Err(why) => Err(why.clone()),
    };
    evaluation.object(&Object {
        kind: ItemKind::Seed,
        place: &name,
        namespace: seed.metadata.namespace.as_deref(),
        name: &name,
        deleting: seed.metadata.deletion_timestamp.is_some(),
        created: seed.metadata.creation_timestamp.as_ref().map(|time| time.0),
        documents: Documents::from([("object", object)]),
        computed: facts.item(),
    });
}

/// Something about the room on a seed, where it was read.
fn room<T>(read: Option<&Result<Capacity, String>>, of: impl Fn(&Capacity) -> T) -> Field<T> {
    match read {
        Some(Ok(capacity)) => Field::Known(of(capacity)),
        Some(Err(why)) => Field::NotRead(why.clone()),
        None => Field::NotRead("spec.checks.seedCapacity does not ask for it".to_owned()),
    }
}
