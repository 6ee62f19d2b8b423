//! What the operator is said to have observed of a platform with a master and one seed: a few situations, chosen by one byte.

use jiff::Timestamp;
use kkp_upgrade_api::KKPUpgradeObject;
use kkp_upgrade_core::facts::{
    BackupKey, ConfigurationFacts, Evidence, Facts, Fence, InstallerFacts, JobFacts, Known, LeaseFacts, PlatformFacts,
    SeedFacts, ThrottleMark,
};
use kkp_upgrade_core::request::{Edition, Storage};
use kkp_upgrade_core::status::ClusterCounts;
use kkp_upgrade_core::version::KkpVersion;
use kkp_upgrade_operator::observe::{error_lines, object_facts};

/// Annotation with the termination message of the Job.
const MESSAGE: &str = "message";
/// Annotation with our note about the limit.
const NOTE: &str = "note";

/// Annotation with the digest of the stored plan.
const PLAN: &str = "plan";
/// Annotation with the reason why the last effect was refused.
const REFUSED: &str = "refused";

/// Bits 0-2 choose the Job, 3 the evidence, 4 the platform, 5 the lease.
pub(crate) fn observed(object: &KKPUpgradeObject, choice: u8) -> Facts {
    let own = object_facts(object);
    let annotation = |name: &str| {
        let annotations = object.metadata.annotations.as_ref();
        annotations.and_then(|all| all.get(name)).cloned()
    };
    let bit = |number: u8| choice & (1 << number) != 0;
    let platform = if bit(4) {
        Known::Unknown("connection refused".to_owned())
    } else {
        Known::Is(platform(annotation(NOTE), bit(3)))
    };
    Facts {
        now: Timestamp::UNIX_EPOCH,
        holder: "pod.1".to_owned(),
        platform_namespace: Known::Is(own.namespace.clone()),
        platform,
        findings: Known::Is(Vec::new()),
        catalogue: None,
        others: Known::Is(Vec::new()),
        lease: Known::Is(LeaseFacts {
            resource_version: Some("1".to_owned()),
            holder: bit(5).then(|| own.uid.clone()),
        }),
        plan: Known::Is(annotation(PLAN)),
        refused: annotation(REFUSED),
        refusal_stands: false,
        etcd: Known::NotRead,
        marked: Known::NotRead,
        job: job(choice & 7, annotation(MESSAGE).unwrap_or_default()),
        object: own,
    }
}

fn job(choice: u8, message: String) -> Known<JobFacts> {
    let uid = "job".to_owned();
    Known::Is(match choice {
        0 => return Known::NotRead,
        1 => return Known::Unknown(message),
        2 => JobFacts::Absent { fence: Fence::Absent },
        3 => JobFacts::Absent { fence: Fence::Pod },
        4 => JobFacts::Foreign,
        5 => JobFacts::Running {
            uid,
            fence: Fence::Absent,
            waiting: None,
        },
        6 => JobFacts::Succeeded { uid, message },
        _ => JobFacts::Failed {
            uid,
            message: error_lines(&message),
        },
    })
}

fn platform(note: Option<String>, proven: bool) -> PlatformFacts {
    let evidence = if proven {
        Evidence::Proven
    } else {
        Evidence::Missing(vec!["a Deployment is rolling out".to_owned()])
    };
    let mark = note.map_or(Known::Is(None), |note| {
        match serde_json::from_str::<ThrottleMark>(&note) {
            Ok(mark) => Known::Is(Some(mark)),
            Err(error) => Known::Unknown(error.to_string()),
        }
    });
    PlatformFacts {
        configuration: ConfigurationFacts {
            namespace: "kubermatic".to_owned(),
            name: "kubermatic".to_owned(),
            uid: "kkp".to_owned(),
            resource_version: "7".to_owned(),
            maximum_parallel_reconciles: Some(10),
            throttle_mark: mark,
        },
        version: Some(KkpVersion::new(2, 30, 6)),
        route: Known::NotRead,
        edition: Some(Edition::CE),
        cluster_uid: "master-cluster".to_owned(),
        crd_version: Known::Is(Some("v2.30.6".to_owned())),
        evidence: evidence.clone(),
        seeds: vec![seed(evidence)],
        backup_storage: Some(Storage::Claim {
            claim: "backups".to_owned(),
            path: "upgrades".to_owned(),
        }),
        backup_key: Known::Is(Some(BackupKey {
            recipient: "age1public".to_owned(),
            private: true,
        })),
        installer: Known::Is(InstallerFacts {
            image: "quay.io/kubermatic/kubermatic:v2.31.0".to_owned(),
            values_digest: "sha256:v".to_owned(),
            values_secret: None,
            flags: Vec::new(),
            proxies: Vec::new(),
        }),
    }
}

fn seed(evidence: Evidence) -> SeedFacts {
    SeedFacts {
        name: "eu".to_owned(),
        uid: "uid-eu".to_owned(),
        reachable: Known::Is(()),
        cluster_uid: Some("seed-cluster".to_owned()),
        evidence,
        limit_in_force: Known::Is(Some(10)),
        clusters: Known::Is(ClusterCounts {
            total: 3,
            converged: 3,
            ..ClusterCounts::default()
        }),
        lagging: Vec::new(),
        unhealthy: Vec::new(),
        etcd_destination: None,
    }
}
