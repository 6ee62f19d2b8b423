//! Releases and the route between them.

use super::*;
use proptest::prelude::*;

fn path(from: &str, target: &str, via: &[&str]) -> Result<Vec<String>, RouteError> {
    let via: Vec<KkpVersion> = via.iter().map(|text| version(text)).collect();
    embedded()
        .path(version(from), version(target), &via)
        .map(|path| path.iter().map(ToString::to_string).collect())
}

#[test]
fn the_route_takes_every_minor_at_its_newest_patch() {
    assert_eq!(path("2.30.6", "2.31.0", &[]).unwrap(), ["2.31.0"]);
    assert_eq!(path("2.30.1", "2.30.6", &[]).unwrap(), ["2.30.6"]);
    assert_eq!(path("2.28.13", "2.31.0", &[]).unwrap(), ["2.29.10", "2.30.6", "2.31.0"]);
    assert_eq!(
        path("2.28.13", "2.31.0", &["2.30.4"]).unwrap(),
        ["2.29.10", "2.30.4", "2.31.0"]
    );
    assert_eq!(path("2.22.13", "2.24.15", &[]).unwrap(), ["2.23.19", "2.24.15"]);
    assert_eq!(path("2.31.0", "2.31.0", &[]).unwrap(), Vec::<String>::new());
}

#[test]
fn the_running_minor_is_left_from_its_newest_patch_unless_via_says_otherwise() {
    assert_eq!(path("2.30.1", "2.31.0", &[]).unwrap(), ["2.30.6", "2.31.0"]);
    assert_eq!(path("2.30.1", "2.31.0", &["2.30.4"]).unwrap(), ["2.30.4", "2.31.0"]);
    assert_eq!(path("2.30.1", "2.31.0", &["2.30.1"]).unwrap(), ["2.31.0"]);
    assert_eq!(
        path("2.29.3", "2.31.0", &["2.29.3", "2.30.5"]).unwrap(),
        ["2.30.5", "2.31.0"]
    );
    assert!(
        path("2.30.1", "2.31.0", &["2.30.77"])
            .unwrap_err()
            .to_string()
            .contains("2.30.77 is not in the catalogue")
    );
}

#[test]
fn what_has_no_route_says_why() {
    let text = |from, target, via: &[&str]| path(from, target, via).unwrap_err().to_string();
    assert_eq!(
        text("2.31.0", "2.30.6", &[]),
        "2.30.6 is older than 2.31.0: KKP cannot be downgraded, set targetVersion to 2.31.0 or newer"
    );
    assert!(text("2.31.0", "3.0.0", &[]).contains("another major"));
    assert!(
        text("2.30.6", "2.31.7", &[])
            .starts_with("release 2.31.7 is not in the catalogue: newest known release of 2.31 is 2.31.0")
    );
    assert!(
        text("2.31.0", "2.32.0", &[]).contains("add minor 2.32 to releases.yaml of ConfigMap kkp-upgrade-catalogue")
    );
    assert!(text("2.29.0", "2.31.0", &["2.30.99"]).contains("release 2.30.99 is not in the catalogue"));
    for via in [
        ["2.28.0"].as_slice(),
        &["2.28.99"],
        &["2.31.0"],
        &["2.30.4", "2.30.5"],
        &["3.30.0"],
    ] {
        assert!(
            matches!(path("2.29.0", "2.31.0", via), Err(RouteError::ViaOffRoute { .. })),
            "{via:?}"
        );
    }
}

/// The newest patch of each minor, with the number of Kubernetes versions and the range that KKP documents for it.
#[test]
fn newest_releases_accept_what_kkp_documents() {
    let expected = [
        ("2.23.19", "1.24.3 to 1.27.13", "1.26.13", 25),
        ("2.24.15", "1.26.1 to 1.28.9", "1.27.10", 12),
        ("2.25.18", "1.27.3 to 1.29.4", "1.28.9", 14),
        ("2.26.13", "1.28.2 to 1.31.13", "1.30.12", 21),
        ("2.27.12", "1.29.0 to 1.32.13", "1.31.14", 23),
        ("2.28.13", "1.30.5 to 1.33.13", "1.33.13", 34),
        ("2.29.10", "1.31.1 to 1.34.10", "1.33.13", 39),
        ("2.30.6", "1.32.1 to 1.35.7", "1.34.10", 39),
        ("2.31.0", "1.33.0 to 1.36.3", "1.35.7", 31),
    ];
    for (text, range, default, count) in expected {
        let release = embedded().release(version(text)).unwrap();
        assert_eq!(
            (
                release.kubernetes_range().as_str(),
                release.default_kubernetes.to_string().as_str(),
                release.kubernetes.len()
            ),
            (range, default, count),
            "{text}"
        );
        assert_eq!(
            embedded().releases().newest(2, release.version.minor),
            Some(release.version)
        );
    }
    assert_eq!(
        embedded().releases().image("EE"),
        Some("quay.io/kubermatic/kubermatic-ee")
    );
}

#[test]
fn lists_grow_with_patch_releases_and_the_image_gets_its_dependencies() {
    let release = |text| embedded().release(version(text)).unwrap();
    let kubernetes = |text: &str| semver::Version::parse(text).unwrap();
    assert!(!release("2.30.5").accepts(&kubernetes("1.35.7")) && release("2.30.6").accepts(&kubernetes("1.35.7")));
    assert!(!release("2.30.6").accepts(&kubernetes("1.33.4")));
    assert_eq!(
        (release("2.26.2").job, release("2.26.3").job, release("2.31.0").job),
        (JobMode::Download, JobMode::Full, JobMode::Full)
    );
    assert!(embedded().release(version("2.26.14")).is_none());
}

proptest! {
    /// Every route goes up, one minor at a time, over releases that the catalogue knows, and ends at the target.
    #[test]
    fn routes_go_up_one_minor_at_a_time(from in 22u32..32, from_patch in 0u32..20, to in 22u32..33, to_patch in 0u32..20) {
        let (from, target) = (KkpVersion::new(2, from, from_patch), KkpVersion::new(2, to, to_patch));
        if let Ok(path) = embedded().path(from, target, &[]) {
            let mut last = from;
            for hop in &path {
                prop_assert!(*hop > last && hop.minor <= last.minor + 1 && embedded().release(*hop).is_some());
                last = *hop;
            }
            prop_assert_eq!(last, target);
        }
    }
}
