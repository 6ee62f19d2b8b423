//! From a spec to the core's request: everything that a schema cannot check. Talks to no cluster.

use std::time::Duration;

use jiff::Timestamp;
use kkp_upgrade_core::request::{self, BackupRequest, InstallerRequest, Request, SpecError};

use crate::spec::{
    AcceptedRisk, Backup, BackupPolicy, ClaimStorage, Edition, Installer, KKPUpgradeSpec, Mode, Verification,
};

impl TryFrom<&KKPUpgradeSpec> for Request {
    type Error = SpecError;

    fn try_from(spec: &KKPUpgradeSpec) -> Result<Self, SpecError> {
        let verification = spec.verification.clone().unwrap_or_default();
        let Verification {
            soak_seconds,
            progress_deadline_seconds,
        } = verification;
        Ok(Self {
            target: spec
                .target_version
                .parse()
                .map_err(|error| invalid("targetVersion", &error))?,
            edition: spec.edition.map(Into::into),
            mode: spec.mode.into(),
            paused: spec.paused,
            maximum_parallel_reconciles: spec
                .maximum_parallel_reconciles
                .map(|limit| within("maximumParallelReconciles", limit, 1, 1000))
                .transpose()?,
            installer: installer(spec.installer.clone().unwrap_or_default())?,
            backup: backup(spec.backup.clone().unwrap_or_default())?,
            soak: seconds("verification.soakSeconds", soak_seconds, 0, 86_400)?,
            progress_deadline: seconds(
                "verification.progressDeadlineSeconds",
                progress_deadline_seconds,
                1,
                86_400,
            )?,
            accepted_risks: spec
                .accepted_risks
                .iter()
                .enumerate()
                .map(accepted_risk)
                .collect::<Result<_, _>>()?,
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
    let claim = match backup.storage {
        None => None,
        Some(storage) => match storage.persistent_volume_claim {
            Some(claim) => Some(checked_claim(claim)?),
            None => {
                return Err(invalid(
                    "backup.storage",
                    &"exactly one kind of storage must be set: `persistentVolumeClaim`",
                ));
            }
        },
    };
    Ok(BackupRequest {
        claim,
        required: backup.policy == BackupPolicy::Required,
    })
}

/// The path ends in a file name on a volume that other things may live on: it must stay below the volume's root.
fn checked_claim(claim: ClaimStorage) -> Result<(String, String), SpecError> {
    let path = claim.path.unwrap_or_default();
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        let problem = format!("`{path}` must be relative to the volume's root and must not contain `..`");
        return Err(invalid("backup.storage.persistentVolumeClaim.path", &problem));
    }
    Ok((claim.claim_name, path))
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
        assert_eq!(
            (request.installer.helm_values, request.installer.skip_charts),
            (None, None)
        );
        assert_eq!(
            request.backup,
            BackupRequest {
                claim: None,
                required: true
            }
        );
        assert_eq!(
            (request.soak, request.progress_deadline),
            (Duration::from_mins(5), Duration::from_mins(30))
        );
    }

    #[test]
    fn every_field_arrives() {
        let request = request(&json!({
            "targetVersion": "2.31.0", "edition": "EE", "mode": "Plan", "paused": true, "maximumParallelReconciles": 3,
            "installer": {"helmValuesRef": {"name": "values"}, "skipCharts": [], "helmTimeoutSeconds": 60},
            "backup": {"storage": {"persistentVolumeClaim": {"claimName": "claim", "path": "a/b"}}, "policy": "Skip"},
            "verification": {"soakSeconds": 0, "progressDeadlineSeconds": 10},
            "acceptedRisks": [{"rule": "r", "targets": ["t"], "reason": "why", "expirationTime": "2026-12-01T01:00:00+01:00"}],
        }))
        .unwrap();
        assert_eq!(
            (request.mode, request.edition, request.paused),
            (request::Mode::Plan, Some(request::Edition::EE), true)
        );
        assert_eq!(request.maximum_parallel_reconciles, Some(3));
        assert_eq!(
            request.installer.helm_values,
            Some(("values".into(), "values.yaml".into()))
        );
        assert_eq!(request.installer.skip_charts, Some(vec![]));
        assert_eq!(
            request.backup,
            BackupRequest {
                claim: Some(("claim".into(), "a/b".into())),
                required: false
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
    fn what_cannot_be_carried_out_is_named_with_its_field() {
        let claim = |path: &str| json!({"targetVersion": "2.31.0", "backup": {"storage": {"persistentVolumeClaim": {"claimName": "c", "path": path}}}});
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
