//! From a spec to the core's request: everything that a schema cannot check. Talks to no cluster.

mod storage;

use std::time::Duration;

use bech32::Bech32;
use bech32::primitives::decode::CheckedHrpstring;
use jiff::Timestamp;
use kkp_upgrade_core::request::{self, ApprovalRequest, BackupRequest, Inside, InstallerRequest, Request, SpecError};
use kkp_upgrade_core::version::KkpVersion;

use crate::checks::{InsideUserClusters, SeedCapacity};
use crate::spec::{
    AcceptedRisk, ApprovalMode, ApprovalSpec, Backup, BackupPolicy, Edition, Installer, KKPUpgradeSpec, Mode,
    UserClusterEtcd, Verification,
};

impl TryFrom<&KKPUpgradeSpec> for Request {
    type Error = SpecError;

    fn try_from(spec: &KKPUpgradeSpec) -> Result<Self, SpecError> {
        let verification = spec.verification.clone().unwrap_or_default();
        let checks = spec.checks.clone().unwrap_or_default();
        let Verification {
            soak_seconds,
            progress_deadline_seconds,
        } = verification;
        Ok(Self {
            target: spec
                .target_version
                .parse()
                .map_err(|error| invalid("targetVersion", &error))?,
            via: via(&spec.via)?,
            edition: spec.edition.map(Into::into),
            mode: spec.mode.into(),
            paused: spec.paused,
            maximum_parallel_reconciles: spec
                .maximum_parallel_reconciles
                .map(|limit| within("maximumParallelReconciles", limit, 1, 1000))
                .transpose()?,
            approval: approval(spec.approval.clone().unwrap_or_default()),
            installer: installer(spec.installer.clone().unwrap_or_default())?,
            backup: backup(spec.backup.clone().unwrap_or_default())?,
            soak: seconds("verification.soakSeconds", soak_seconds, 0, 86_400)?,
            progress_deadline: seconds(
                "verification.progressDeadlineSeconds",
                progress_deadline_seconds,
                1,
                86_400,
            )?,
            inside: checks.inside_user_clusters.into(),
            seed_capacity: checks.seed_capacity == SeedCapacity::Requests,
            accepted_risks: spec
                .accepted_risks
                .iter()
                .enumerate()
                .map(accepted_risk)
                .collect::<Result<_, _>>()?,
            fixes: spec.fixes.clone(),
        })
    }
}

impl From<Edition> for request::Edition {
    fn from(edition: Edition) -> Self {
        match edition {
            Edition::CE => Self::CE,
            Edition::EE => Self::EE,
        }
    }
}

impl From<Mode> for request::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Upgrade => Self::Upgrade,
            Mode::Plan => Self::Plan,
        }
    }
}

impl From<InsideUserClusters> for Inside {
    fn from(inside: InsideUserClusters) -> Self {
        match inside {
            InsideUserClusters::None => Self::None,
            InsideUserClusters::Sample => Self::Sample,
            InsideUserClusters::All => Self::All,
        }
    }
}

fn via(versions: &[String]) -> Result<Vec<KkpVersion>, SpecError> {
    let parsed = versions
        .iter()
        .enumerate()
        .map(|(index, text)| text.parse().map_err(|error| invalid(&format!("via[{index}]"), &error)));
    parsed.collect()
}

/// A digest that is none is no error: no plan has it.
fn approval(approval: ApprovalSpec) -> ApprovalRequest {
    ApprovalRequest {
        manual: approval.mode == ApprovalMode::Manual,
        digests: approval.digests,
    }
}

fn installer(installer: Installer) -> Result<InstallerRequest, SpecError> {
    Ok(InstallerRequest {
        helm_values: installer
            .helm_values_ref
            .map(|reference| (reference.name, reference.key)),
        skip_charts: installer.skip_charts,
        // The installer itself refuses less than 10 s.
        helm_timeout: seconds("installer.helmTimeoutSeconds", installer.helm_timeout_seconds, 10, 7200)?,
    })
}

fn backup(backup: Backup) -> Result<BackupRequest, SpecError> {
    Ok(BackupRequest {
        storage: backup.storage.map(request::Storage::try_from).transpose()?,
        required: backup.policy == BackupPolicy::Required,
        user_cluster_etcd: backup.user_cluster_etcd == UserClusterEtcd::Auto,
        recipients: recipients(backup.encryption.unwrap_or_default().recipients)?,
    })
}

/// A mistyped key must not make an archive that nobody can open: its checksum is looked at, which a schema cannot.
fn recipients(keys: Vec<String>) -> Result<Vec<String>, SpecError> {
    if keys.len() > MOST_RECIPIENTS {
        let problem = format!("{} recipients, and at most {MOST_RECIPIENTS} are allowed", keys.len());
        return Err(invalid("backup.encryption.recipients", &problem));
    }
    for (index, key) in keys.iter().enumerate() {
        if !is_public_key(key) {
            let problem = "it is no public key of age: copy it whole, as `age-keygen` prints it (`age1…`)";
            return Err(invalid(&format!("backup.encryption.recipients[{index}]"), &problem));
        }
    }
    Ok(keys)
}

/// Most recipients of a backup.
const MOST_RECIPIENTS: usize = 16;

/// 32 bytes in Bech32 with the prefix `age` (age's specification, C2SP `age.md`, "The X25519 recipient type").
fn is_public_key(text: &str) -> bool {
    CheckedHrpstring::new::<Bech32>(text).is_ok_and(|key| key.hrp().as_str() == "age" && key.byte_iter().len() == 32)
}

fn accepted_risk((index, risk): (usize, &AcceptedRisk)) -> Result<request::AcceptedRisk, SpecError> {
    let expiration_time = risk.expiration_time.parse::<Timestamp>().map_err(|_| {
        let problem = format!(
            "`{}` must be a time with zone in RFC 3339, for example `2026-12-01T00:00:00Z`",
            risk.expiration_time
        );
        invalid(&format!("acceptedRisks[{index}].expirationTime"), &problem)
    })?;
    Ok(request::AcceptedRisk {
        rule: risk.rule.clone(),
        targets: risk.targets.clone(),
        reason: risk.reason.clone(),
        expiration_time,
    })
}

fn seconds(field: &str, value: i32, least: i32, most: i32) -> Result<Duration, SpecError> {
    let value = within(field, value, least, most)?;
    Ok(Duration::from_secs(u64::from(value.unsigned_abs())))
}

/// The schema has the same bounds; an object that was stored under another schema still ends here.
fn within(field: &str, value: i32, least: i32, most: i32) -> Result<i32, SpecError> {
    if (least..=most).contains(&value) {
        Ok(value)
    } else {
        Err(invalid(field, &format!("{value} must lie between {least} and {most}")))
    }
}

fn invalid(field: &str, problem: &dyn std::fmt::Display) -> SpecError {
    SpecError {
        field: field.to_owned(),
        problem: problem.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use kkp_upgrade_core::request::{S3Bucket, Storage};
    use serde_json::{Value, json};

    use super::*;

    fn request(spec: &Value) -> Result<Request, String> {
        let spec: KKPUpgradeSpec = serde_json::from_value(spec.clone()).unwrap();
        Request::try_from(&spec).map_err(|error| error.to_string())
    }

    #[test]
    fn the_smallest_spec_gets_the_documented_defaults() {
        let request = request(&json!({"targetVersion": "v2.31.0"})).unwrap();
        assert_eq!(request.target.to_string(), "2.31.0");
        assert_eq!(
            (request.mode, request.edition, request.paused),
            (request::Mode::Upgrade, None, false)
        );
        assert_eq!(request.maximum_parallel_reconciles, None);
        assert_eq!(request.installer.helm_timeout, Duration::from_mins(10));
        assert_eq!((request.inside, request.seed_capacity), (Inside::None, false));
        assert_eq!(
            (request.installer.helm_values, request.installer.skip_charts),
            (None, None)
        );
        assert_eq!(
            request.backup,
            BackupRequest {
                storage: None,
                required: true,
                user_cluster_etcd: true,
                recipients: Vec::new(),
            }
        );
        assert_eq!(
            (request.soak, request.progress_deadline),
            (Duration::from_mins(5), Duration::from_mins(30))
        );
    }

    /// From the documentation of age.
    const KEY: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

    #[test]
    fn every_field_arrives() {
        let request = request(&json!({
            "targetVersion": "2.31.0", "edition": "EE", "mode": "Plan", "paused": true, "maximumParallelReconciles": 3,
            "installer": {"helmValuesRef": {"name": "values"}, "skipCharts": [], "helmTimeoutSeconds": 60},
            "backup": {"storage": {"persistentVolumeClaim": {"claimName": "claim", "path": "a/b"}}, "policy": "Skip", "userClusterEtcd": "Disabled",
                       "encryption": {"recipients": [KEY]}},
            "verification": {"soakSeconds": 0, "progressDeadlineSeconds": 10},
            "checks": {"insideUserClusters": "Sample", "seedCapacity": "Requests"},
            "acceptedRisks": [{"rule": "r", "targets": ["t"], "reason": "why", "expirationTime": "2026-12-01T01:00:00+01:00"}],
        }))
        .unwrap();
        assert_eq!(
            (request.mode, request.edition, request.paused),
            (request::Mode::Plan, Some(request::Edition::EE), true)
        );
        assert_eq!(request.maximum_parallel_reconciles, Some(3));
        assert_eq!((request.inside, request.seed_capacity), (Inside::Sample, true));
        let all = json!({"targetVersion": "2.31.0", "checks": {"insideUserClusters": "All"}});
        assert_eq!(super::tests::request(&all).unwrap().inside, Inside::All);
        assert_eq!(
            request.installer.helm_values,
            Some(("values".into(), "values.yaml".into()))
        );
        assert_eq!(request.installer.skip_charts, Some(vec![]));
        assert_eq!(
            request.backup,
            BackupRequest {
                storage: Some(Storage::Claim {
                    claim: "claim".into(),
                    path: "a/b".into(),
                }),
                required: false,
                user_cluster_etcd: false,
                recipients: vec![KEY.to_owned()],
            }
        );
        assert_eq!(
            (request.soak, request.progress_deadline),
            (Duration::ZERO, Duration::from_secs(10))
        );
        assert_eq!(
            request.accepted_risks[0].expiration_time.to_string(),
            "2026-12-01T00:00:00Z"
        );
        assert_eq!(request.accepted_risks[0].targets, ["t"]);
    }

    #[test]
    fn a_bucket_arrives_with_its_defaults() {
        let bucket = |s3: &serde_json::Value| {
            let spec = json!({"targetVersion": "2.31.0", "backup": {"storage": {"s3": s3}}});
            match request(&spec).unwrap().backup.storage {
                Some(Storage::S3(bucket)) => *bucket,
                other => panic!("{other:?}"),
            }
        };
        let own = bucket(&json!({
            "endpoint": "https://s3.example.com", "bucket": "backups", "prefix": "/prod/", "region": "eu",
            "caBundle": {"name": "ca-bundle"}, "credentialsSecretRef": {"name": "s3"},
        }));
        let expected = S3Bucket {
            endpoint: Some("https://s3.example.com".into()),
            bucket: "backups".into(),
            prefix: "prod".into(),
            region: "eu".into(),
            path_style: true,
            ca_bundle: Some(("ca-bundle".into(), "ca-bundle.pem".into())),
            credentials: "s3".into(),
        };
        assert_eq!(own, expected);
        let aws = bucket(&json!({"bucket": "backups", "credentialsSecretRef": {"name": "s3"}}));
        assert_eq!((aws.path_style, aws.region.as_str()), (false, "us-east-1"));
    }

    #[test]
    fn what_cannot_be_carried_out_is_named_with_its_field() {
        let claim = |path: &str| json!({"targetVersion": "2.31.0", "backup": {"storage": {"persistentVolumeClaim": {"claimName": "c", "path": path}}}});
        let s3 = |more: &serde_json::Value| {
            let mut bucket = json!({"bucket": "backups", "credentialsSecretRef": {"name": "s"}});
            for (name, value) in more.as_object().unwrap() {
                bucket[name] = value.clone();
            }
            json!({"targetVersion": "2.31.0", "backup": {"storage": {"s3": bucket}}})
        };
        let recipients =
            |keys: &[&str]| json!({"targetVersion": "2.31.0", "backup": {"encryption": {"recipients": keys}}});
        let risk = |time: &str| json!({"targetVersion": "2.31.0", "acceptedRisks": [{"rule": "r", "reason": "w", "expirationTime": time}]});
        for (spec, expected) in [
            (
                json!({"targetVersion": "2.31"}),
                "spec.targetVersion: `2.31` is not a version",
            ),
            (
                json!({"targetVersion": "2.31.0", "maximumParallelReconciles": 0}),
                "spec.maximumParallelReconciles: 0 must lie between 1",
            ),
            (
                json!({"targetVersion": "2.31.0", "verification": {"soakSeconds": -1}}),
                "spec.verification.soakSeconds: -1 must",
            ),
            (
                json!({"targetVersion": "2.31.0", "verification": {"progressDeadlineSeconds": 0}}),
                "spec.verification.progressDeadlineSeconds: 0 must",
            ),
            (
                json!({"targetVersion": "2.31.0", "installer": {"helmTimeoutSeconds": 9}}),
                "spec.installer.helmTimeoutSeconds: 9 must",
            ),
            (
                json!({"targetVersion": "2.31.0", "backup": {"storage": {}}}),
                "spec.backup.storage: exactly one",
            ),
            (
                s3(&json!({"prefix": "a//b"})),
                "spec.backup.storage.s3.prefix: `a//b` must not",
            ),
            (
                s3(&json!({"prefix": "a/../b"})),
                "spec.backup.storage.s3.prefix: `a/../b` must not",
            ),
            (
                s3(&json!({"pathStyle": true})),
                "spec.backup.storage.s3.pathStyle: it is only for an own endpoint",
            ),
            (
                recipients(&[KEY, &KEY.replace('q', "p")]),
                "spec.backup.encryption.recipients[1]: it is no public key",
            ),
            (
                // A right checksum, and another prefix.
                recipients(&["bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"]),
                "spec.backup.encryption.recipients[0]: it is no public key",
            ),
            (
                recipients(&[KEY; 17]),
                "spec.backup.encryption.recipients: 17 recipients",
            ),
            (
                claim("/etc"),
                "spec.backup.storage.persistentVolumeClaim.path: `/etc` must be relative",
            ),
            (
                claim("a/../../b"),
                "spec.backup.storage.persistentVolumeClaim.path: `a/../../b` must be relative",
            ),
            (
                risk("tomorrow"),
                "spec.acceptedRisks[0].expirationTime: `tomorrow` must be",
            ),
            (
                risk("2026-12-01T00:00:00"),
                "spec.acceptedRisks[0].expirationTime: `2026-12-01T00:00:00` must be",
            ),
        ] {
            let said = request(&spec).unwrap_err();
            assert!(said.starts_with(expected), "{said}");
        }
    }
}
