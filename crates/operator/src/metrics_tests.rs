//! What the page of metrics shows.

use kkp_upgrade_core::status::{Change, PlanStatus, Progress};

use super::*;

fn deploying() -> Status {
    Status {
        phase: Some("Deploying".to_owned()),
        target_version: Some("2.31.0".to_owned()),
        from_version: Some("2.30.1".to_owned()),
        run_id: Some(3),
        progress: Some(Progress {
            percent: 42,
            ..Progress::default()
        }),
        plan: Some(PlanStatus {
            findings: FindingCounts {
                blockers: 0,
                warnings: 2,
                infos: 5,
                accepted: 1,
                to_be_fixed: 0,
            },
            ..PlanStatus::default()
        }),
        changes: vec![
            Change::default(),
            Change::default(),
            Change {
                permanent: true,
                ..Change::default()
            },
        ],
        ..Status::default()
    }
}

#[test]
fn a_status_is_shown_and_forgotten() {
    let metrics = Metrics::new("0.1.0");
    metrics.observe_status("kubermatic", "to-2-31", &deploying());
    let page = metrics.encode();
    let object = r#"namespace="kubermatic",name="to-2-31""#;
    for line in [
        format!(r#"kkp_upgrade_info{{{object},target="2.31.0",from="2.30.1",run="3"}} 1"#),
        format!(r#"kkp_upgrade_status_phase{{{object},phase="Deploying"}} 1"#),
        format!("kkp_upgrade_progress_ratio{{{object}}} 0.42"),
        format!("kkp_upgrade_leftovers{{{object}}} 2"),
        format!(r#"kkp_upgrade_findings{{{object},severity="warning"}} 2"#),
        r#"kkp_upgrade_build_info{version="0.1.0"} 1"#.to_owned(),
        "# EOF".to_owned(),
    ] {
        assert!(page.lines().any(|one| one == line), "no line {line} in\n{page}");
    }

    metrics.forget("kubermatic", "to-2-31");
    assert!(!metrics.encode().contains("to-2-31"));
}

#[test]
fn exactly_one_phase_is_1() {
    for phase in [None, Some("Pending"), Some("Done"), Some("Aborted")] {
        let metrics = Metrics::new("0.1.0");
        let status = Status {
            phase: phase.map(str::to_owned),
            ..Status::default()
        };
        metrics.observe_status("kubermatic", "one", &status);
        let page = metrics.encode();
        let series: Vec<&str> = page
            .lines()
            .filter(|line| line.starts_with("kkp_upgrade_status_phase{"))
            .collect();
        let current: Vec<&&str> = series.iter().filter(|line| line.ends_with(" 1")).collect();
        assert_eq!(series.len(), Phase::VARIANTS.len());
        assert_eq!(current.len(), 1, "{series:?}");
        assert!(current[0].contains(&format!("phase=\"{}\"", phase.unwrap_or("Pending"))));
    }
}

#[test]
fn rounds_are_counted_from_zero_and_errors_twice() {
    let metrics = Metrics::new("0.1.0");
    let rounds = r#"controller_runtime_reconcile_total{controller="kkpupgrade",result="error"}"#;
    let errors = r#"controller_runtime_reconcile_errors_total{controller="kkpupgrade"}"#;
    let leader = r#"leader_election_master_status{name="kkp-upgrade-operator-leader"}"#;
    let page = metrics.encode();
    for series in [rounds, errors, leader] {
        assert!(page.contains(&format!("{series} 0\n")), "{page}");
    }
    metrics.reconciled(Duration::from_millis(30), "error");
    metrics.reconciled(Duration::from_millis(30), "success");
    metrics.leader(true);
    let page = metrics.encode();
    for series in [rounds, errors, leader] {
        assert!(page.contains(&format!("{series} 1\n")), "{page}");
    }
    let count = r#"controller_runtime_reconcile_time_seconds_count{controller="kkpupgrade"} 2"#;
    assert!(page.contains(count), "{page}");
}

#[test]
fn a_condition_has_one_status() {
    let metrics = Metrics::new("0.1.0");
    let mut status = Status::default();
    let condition = serde_json::json!({"type": "Ready", "status": "Unknown", "observedGeneration": 1,
        "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "Backup", "message": ""});
    status.conditions.push(serde_json::from_value(condition).unwrap());
    metrics.observe_status("kubermatic", "one", &status);
    let page = metrics.encode();
    assert!(page.contains(r#"type="Ready",status="Unknown"} 1"#), "{page}");
    assert!(page.contains(r#"type="Ready",status="True"} 0"#), "{page}");
}
