//! Tests: release index, payload decoding with garbage and bombs, values.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use kube::api::ObjectMeta;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn secret(namespace: &str, release: &str, revision: &str, status: &str) -> ObjectMeta {
    serde_json::from_value(json!({
        "name": format!("sh.helm.release.v1.{release}.v{revision}"),
        "namespace": namespace,
        "labels": {"owner": "helm", "name": release, "version": revision, "status": status, "modifiedAt": "1760000000"},
    }))
    .unwrap()
}

#[test]
fn the_newest_revision_is_taken_by_number_in_any_order() {
    let mut secrets = vec![
        secret("kubermatic", "kubermatic-operator", "9", "superseded"),
        secret("kubermatic", "kubermatic-operator", "10", "deployed"),
        secret("kubermatic", "kubermatic-operator", "11", "pending-upgrade"),
        secret("minio", "minio", "2", "deployed"),
        secret("mla", "minio", "3", "failed"),
    ];
    for _ in 0..secrets.len() {
        secrets.rotate_left(1);
        let index = newest_releases(&secrets);
        assert_eq!(index.unreadable, []);
        assert_eq!(index.releases.len(), 3);
        let operator = index.get("kubermatic", "kubermatic-operator").unwrap();
        assert_eq!(
            (operator.revision, &operator.status),
            (11, &ReleaseStatus::PendingUpgrade)
        );
        assert_eq!(operator.last_deployed, Some(10));
        assert_eq!(operator.secret, "sh.helm.release.v1.kubermatic-operator.v11");
        assert!(operator.status.purges());
        assert_eq!(index.get("minio", "minio").unwrap().status, ReleaseStatus::Deployed);
        let purged = index.get("mla", "minio").unwrap();
        assert_eq!((purged.revision, purged.last_deployed), (3, None));
        assert_eq!(index.get("minio", "other"), None);
    }
}

#[test]
fn malformed_labels_are_named_and_foreign_secrets_skipped() {
    let mut no_status = secret("kubermatic", "dex", "1", "x");
    no_status.labels.as_mut().unwrap().remove("status");
    let mut no_name = secret("kubermatic", "dex", "2", "deployed");
    no_name.labels.as_mut().unwrap().remove("name");
    let mut foreign = secret("kubermatic", "dex", "3", "deployed");
    foreign.name = Some("dockercfg".to_owned());
    let mut unlabelled = secret("kubermatic", "dex", "4", "deployed");
    unlabelled.labels = None;
    let index = newest_releases(&[
        no_status,
        no_name,
        secret("kubermatic", "dex", "v5", "deployed"),
        foreign,
        unlabelled,
    ]);
    assert_eq!(index.releases, []);
    let labels: Vec<&str> = index.unreadable.iter().map(|problem| problem.label).collect();
    assert_eq!(labels, ["status", "name", "version"]);
}

#[test]
fn states_are_read_and_only_four_of_them_purge() {
    for (word, purges) in [
        ("deployed", false),
        ("superseded", false),
        ("failed", true),
        ("uninstalled", false),
        ("uninstalling", false),
        ("pending-install", true),
        ("pending-upgrade", true),
        ("pending-rollback", true),
        ("unknown", false),
        ("", false),
    ] {
        let status = ReleaseStatus::from(word);
        assert_eq!(status.purges(), purges, "{word}");
        assert_eq!(status.to_string(), word);
    }
    assert_eq!(
        ReleaseStatus::from("paused"),
        ReleaseStatus::Unknown("paused".to_owned())
    );
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn release(config: &Value) -> Value {
    json!({
        "name": "kubermatic-operator", "version": 7, "namespace": "kubermatic", "manifest": "---\n",
        "info": {"status": "deployed", "first_deployed": "2026-01-01T00:00:00Z"},
        "chart": {"metadata": {"name": "kubermatic-operator", "version": "2.31.0", "appVersion": "v2.31.0"}, "templates": []},
        "config": config,
    })
}

fn encoded(document: &Value) -> Vec<u8> {
    STANDARD
        .encode(gzip(&serde_json::to_vec(document).unwrap()))
        .into_bytes()
}

fn problem(data: &[u8]) -> PayloadProblem {
    let error = decode("sh.helm.release.v1.a.v1", Some(data)).unwrap_err();
    assert_eq!(error.secret, "sh.helm.release.v1.a.v1");
    error.problem
}

#[test]
fn a_payload_is_decoded() {
    let values = json!({"kubermaticOperator": {"image": {"tag": "v2.30.6"}}, "dex": {"password": "geheim"}});
    let payload = decode("s", Some(&encoded(&release(&values)))).unwrap();
    assert_eq!((payload.name.as_str(), payload.revision), ("kubermatic-operator", 7));
    assert_eq!(payload.status, ReleaseStatus::Deployed);
    assert_eq!(
        (payload.chart_version.as_str(), payload.app_version.as_str()),
        ("2.31.0", "v2.31.0")
    );
    assert_eq!(payload.user_values, values);
    assert!(!format!("{payload:?}").contains("geheim"));
    // No values at all, no appVersion, a payload that was never compressed.
    let mut bare = release(&Value::Null);
    bare["chart"]["metadata"].as_object_mut().unwrap().remove("appVersion");
    let plain = STANDARD.encode(serde_json::to_vec(&bare).unwrap());
    let payload = decode("s", Some(plain.as_bytes())).unwrap();
    assert_eq!((payload.app_version.as_str(), payload.user_values), ("", Value::Null));
}

#[test]
fn broken_payloads_are_told_apart_and_never_quoted() {
    assert_eq!(decode("s", None).unwrap_err().problem, PayloadProblem::Missing);
    assert_eq!(problem(b"not base64!"), PayloadProblem::NotBase64);
    let whole = gzip(&serde_json::to_vec(&release(&json!({}))).unwrap());
    let cut = STANDARD.encode(&whole[..whole.len() - 9]);
    assert_eq!(problem(cut.as_bytes()), PayloadProblem::NotGzip);
    assert!(matches!(problem(b""), PayloadProblem::NotRelease { .. }));
    let mut wrong = release(&json!({}));
    wrong["info"] = json!("geheim");
    let error = decode("s", Some(&encoded(&wrong))).unwrap_err();
    assert!(matches!(error.problem, PayloadProblem::NotRelease { line: 1, .. }));
    assert!(!error.to_string().contains("geheim"), "{error}");
}

#[test]
fn a_bomb_is_refused_at_the_limit() {
    let limit = usize::try_from(MAX_INFLATED).unwrap();
    // At the limit the payload is inflated and found to be no release, one byte more is not even looked at.
    let spaces = |count: usize| STANDARD.encode(gzip(&vec![b' '; count])).into_bytes();
    assert!(matches!(problem(&spaces(limit)), PayloadProblem::NotRelease { .. }));
    let bomb = spaces(limit + 1);
    assert!(bomb.len() < 64 * 1024, "{}", bomb.len());
    assert_eq!(problem(&bomb), PayloadProblem::TooLarge);
    assert!(PayloadProblem::TooLarge.to_string().contains("16777216"));
}

#[test]
fn yaml_means_what_it_means_to_helm() {
    let text = "a: on\nb: 'on'\nc: 0644\nd: yes\ne: No\nf: 1.10\ng: '1.10'\nh: &x {k: 1}\ni: *x\nj: v1\nj: v2\nk:\n";
    let expected = json!({
        "a": true, "b": "on", "c": 420, "d": true, "e": false, "f": 1.1, "g": "1.10", "h": {"k": 1}, "i": {"k": 1},
        "j": "v2", "k": null,
    });
    assert_eq!(parse_yaml(text), Ok(expected));
    for empty in ["", "# nothing\n", "{}"] {
        assert_eq!(parse_yaml(empty), Ok(json!({})), "{empty:?}");
    }
    assert_eq!(parse_yaml("- a\n"), Err(ValuesError::NotMapping { path: "top level" }));
    let error = parse_yaml("ok: 1\npassword: \"geheim\n  x: [").unwrap_err();
    assert!(matches!(error, ValuesError::NotYaml { .. }));
    assert!(!error.to_string().contains("geheim"), "{error}");
}

#[test]
fn the_operators_image_is_read() {
    let image = |values: Value| operator_image(&values);
    let none = OperatorImage::default();
    for values in [
        json!({}),
        json!({"kubermaticOperator": null}),
        json!({"kubermaticOperator": {}}),
        json!({"kubermaticOperator": {"image": null}}),
        json!({"kubermaticOperator": {"image": {"repository": "", "tag": null}}}),
    ] {
        assert_eq!(image(values.clone()), Ok(none.clone()), "{values}");
    }
    let both = json!({"kubermaticOperator": {"image": {"repository": "a/b", "tag": "v2.30.6"}}});
    assert_eq!(
        image(both),
        Ok(OperatorImage {
            repository: Some("a/b".to_owned()),
            tag: Some("v2.30.6".to_owned())
        })
    );
    for (values, path) in [
        (json!("x"), "top level"),
        (json!({"kubermaticOperator": "geheim"}), "kubermaticOperator"),
        (
            json!({"kubermaticOperator": {"image": "geheim"}}),
            "kubermaticOperator.image",
        ),
    ] {
        assert_eq!(image(values), Err(ValuesError::NotMapping { path }));
    }
    let number = json!({"kubermaticOperator": {"image": {"tag": 2.31}}});
    assert_eq!(
        image(number),
        Err(ValuesError::NotText {
            path: "kubermaticOperator.image.tag"
        })
    );
}

#[test]
fn values_for_the_installer_keep_the_repository_and_lose_the_tag() {
    let values = json!({
        "kubermaticOperator": {"image": {"repository": "old/ce", "tag": "v2.30.6", "pull": 1}, "replicas": 1},
        "dex": {"a": [1, null]},
    });
    let expected = json!({
        "kubermaticOperator": {"image": {"repository": "mirror/kubermatic-ee", "pull": 1}, "replicas": 1},
        "dex": {"a": [1, null]},
    });
    assert_eq!(for_installer(values, "mirror/kubermatic-ee"), Ok(expected));
    let only_image = json!({"kubermaticOperator": {"image": {"repository": "a/b"}}});
    for empty in [
        Value::Null,
        json!({}),
        json!({"kubermaticOperator": null}),
        json!({"kubermaticOperator": {"image": null}}),
    ] {
        assert_eq!(for_installer(empty, "a/b"), Ok(only_image.clone()));
    }
    assert_eq!(for_installer(json!({}), " "), Err(ValuesError::NoRepository));
    for (values, path) in [
        (json!([]), "top level"),
        (json!({"kubermaticOperator": ["geheim"]}), "kubermaticOperator"),
        (
            json!({"kubermaticOperator": {"image": "geheim"}}),
            "kubermaticOperator.image",
        ),
    ] {
        let error = for_installer(values, "a/b").unwrap_err();
        assert_eq!(error, ValuesError::NotMapping { path });
        assert!(!error.to_string().contains("geheim"));
    }
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), wrap in 0..3_u8) {
        let data = match wrap {
            0 => bytes,
            1 => STANDARD.encode(&bytes).into_bytes(),
            _ => STANDARD.encode(gzip(&bytes)).into_bytes(),
        };
        prop_assert!(decode("s", Some(&data)).is_err());
    }

    #[test]
    fn after_the_merge_no_tag_is_left(repository in "[a-z]{1,8}/[a-z]{1,8}", tag in "[a-z0-9.]{0,8}", key in "[a-z]{3,6}") {
        let values = json!({"kubermaticOperator": {"image": {"tag": tag}}, key.as_str(): {"x": 1}});
        let merged = for_installer(values, &repository).unwrap();
        prop_assert_eq!(operator_image(&merged).unwrap(), OperatorImage { repository: Some(repository), tag: None });
        prop_assert_eq!(&merged[key.as_str()], &json!({"x": 1}));
    }
}
