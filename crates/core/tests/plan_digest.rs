//! The plan's digest: the same while nothing changes that matters, another one as soon as something does.

use std::time::Duration;

use kkp_upgrade_core::facts::*;
use kkp_upgrade_core::plan::Plan;
use kkp_upgrade_core::request::*;
use kkp_upgrade_core::rules::{self, Finding, ItemKind, Severity};
use kkp_upgrade_core::status::{ClusterCounts, Hop};
use kkp_upgrade_core::version::KkpVersion;
use proptest::prelude::*;

const FROM: KkpVersion = KkpVersion::new(2, 30, 3);
const TO: KkpVersion = KkpVersion::new(2, 31, 0);

fn request() -> Request {
    Request {
        via: Vec::new(),
        target: TO,
        edition: None,
        mode: Mode::Upgrade,
        paused: false,
        approval: ApprovalRequest::default(),
        maximum_parallel_reconciles: Some(3),
        installer: InstallerRequest {
            helm_values: None,
            skip_charts: None,
            helm_timeout: Duration::from_mins(10),
        },
        backup: BackupRequest {
            storage: None,
            required: true,
            user_cluster_etcd: true,
            recipients: Vec::new(),
        },
        soak: Duration::from_mins(1),
        progress_deadline: Duration::from_mins(5),
        inside: Inside::None,
        seed_capacity: false,
        accepted_risks: Vec::new(),
        fixes: Vec::new(),
    }
}

fn finding(rule: &str, severity: Severity, kind: ItemKind, target: &str) -> Finding {
    Finding {
        rule: rule.to_owned(),
        severity,
        acceptable: false,
        hop: rules::Hop { from: FROM, to: TO },
        ahead: false,
        kind,
        target: target.to_owned(),
        message: "is wrong".to_owned(),
        remedy: "mend it".to_owned(),
        docs: None,
        unknown: false,
        transient: false,
        accepted: None,
        fix: None,
    }
}

fn platform() -> PlatformFacts {
    let seed = |name: &str, cluster: &str| SeedFacts {
        etcd_destination: None,
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        reachable: Known::Is(()),
        cluster_uid: Some(cluster.to_owned()),
        evidence: Evidence::Proven,
        limit_in_force: Known::Is(Some(10)),
        clusters: Known::Is(ClusterCounts::default()),
        lagging: Vec::new(),
        unhealthy: Vec::new(),
    };
    PlatformFacts {
        configuration: ConfigurationFacts {
            namespace: "kubermatic".to_owned(),
            name: "kubermatic".to_owned(),
            uid: "kkp".to_owned(),
            resource_version: "1".to_owned(),
            maximum_parallel_reconciles: None,
            throttle_mark: Known::Is(None),
        },
        version: Some(FROM),
        edition: Some(Edition::CE),
        route: Known::NotRead,
        cluster_uid: "master-cluster".to_owned(),
        crd_version: Known::NotRead,
        evidence: Evidence::Proven,
        seeds: vec![seed("kubermatic", "master-cluster"), seed("eu", "eu-cluster")],
        backup_storage: None,
        backup_key: Known::Is(None),
        installer: Known::Is(InstallerFacts {
            image: "kubermatic:v2.31.0".to_owned(),
            values_digest: "sha256:v".to_owned(),
            values_secret: None,
            flags: vec!["--skip-charts=minio".to_owned()],
            proxies: Vec::new(),
        }),
    }
}

/// Everything that a plan is made of.
#[derive(Debug, Clone)]
struct Basis {
    uid: String,
    request: Request,
    path: Vec<String>,
    platform: PlatformFacts,
    findings: Vec<Finding>,
}

impl Basis {
    fn new() -> Self {
        Self {
            uid: "11111111-aaaa".to_owned(),
            request: request(),
            path: vec![FROM.to_string(), TO.to_string()],
            platform: platform(),
            findings: vec![
                finding("a", Severity::Blocker, ItemKind::Seed, "eu"),
                finding("b", Severity::Warning, ItemKind::Cluster, "eu/x1"),
                finding("c", Severity::Warning, ItemKind::Platform, "kubermatic"),
            ],
        }
    }

    fn digest(&self) -> String {
        let hop = Hop {
            index: 1,
            total: 1,
            from: FROM.to_string(),
            to: TO.to_string(),
        };
        Plan::make(
            &self.uid,
            &self.request,
            &self.path,
            &hop,
            &self.platform,
            &self.findings,
        )
        .digest()
    }

    fn installer(&mut self, change: impl FnOnce(&mut InstallerFacts)) {
        if let Known::Is(installer) = &mut self.platform.installer {
            change(installer);
        }
    }

    fn eu(&mut self, change: impl FnOnce(&mut SeedFacts)) {
        self.platform.seeds.last_mut().map(change);
    }
}

type Change = (&'static str, fn(&mut Basis, u16));

/// Nothing of this matters for what will be done.
const IRRELEVANT: [Change; 9] = [
    ("user clusters", |basis, salt| {
        basis.eu(|seed| {
            seed.clusters = Known::Is(ClusterCounts {
                total: i32::from(salt),
                ..ClusterCounts::default()
            });
        });
    }),
    (
        "a finding about a cluster of a rule that other clusters have",
        |basis, salt| {
            let target = format!("eu/y{salt}");
            basis
                .findings
                .push(finding("b", Severity::Warning, ItemKind::Cluster, &target));
        },
    ),
    ("messages", |basis, salt| {
        for finding in &mut basis.findings {
            finding.message = format!("is wrong {salt}");
            finding.remedy = format!("mend {salt}");
        }
    }),
    ("order of findings", |basis, salt| {
        let middle = usize::from(salt) % basis.findings.len();
        basis.findings.rotate_left(middle);
    }),
    ("informations", |basis, salt| {
        let target = format!("seed-{salt}");
        basis
            .findings
            .push(finding("i", Severity::Info, ItemKind::Seed, &target));
    }),
    ("resourceVersions", |basis, salt| {
        basis.platform.configuration.resource_version = salt.to_string();
    }),
    ("health", |basis, salt| {
        basis.eu(|seed| seed.unhealthy = vec![format!("eu/{salt}")]);
        basis.platform.evidence = Evidence::Missing(vec![salt.to_string()]);
    }),
    ("the limit that stands", |basis, salt| {
        basis.platform.configuration.maximum_parallel_reconciles = Some(i64::from(salt));
    }),
    ("soak, deadline and pause", |basis, salt| {
        basis.request.soak = Duration::from_secs(u64::from(salt));
        basis.request.progress_deadline = Duration::from_secs(u64::from(salt) + 1);
        basis.request.paused = salt % 2 == 0;
    }),
];

/// Each of these makes it another plan.
const RELEVANT: [Change; 12] = [
    ("the object", |basis, salt| basis.uid = format!("other-{salt}")),
    ("the route", |basis, salt| basis.path.push(format!("2.32.{salt}"))),
    ("the image", |basis, salt| {
        basis.installer(|installer| installer.image = format!("kubermatic:v2.31.{salt}-x"));
    }),
    ("the flags", |basis, salt| {
        basis.installer(|installer| installer.flags.push(format!("--flag-{salt}")));
    }),
    ("the values", |basis, salt| {
        basis.installer(|installer| installer.values_digest = format!("sha256:{salt}"));
    }),
    ("the limit", |basis, salt| {
        basis.request.maximum_parallel_reconciles = Some(4 + i32::from(salt));
    }),
    ("no limit", |basis, _| basis.request.maximum_parallel_reconciles = None),
    ("the backup", |basis, _| basis.request.backup.required = false),
    ("a blocker", |basis, salt| {
        let rule = format!("rule-{salt}");
        basis
            .findings
            .push(finding(&rule, Severity::Blocker, ItemKind::Seed, "eu"));
    }),
    ("a severity", |basis, _| {
        for finding in basis.findings.iter_mut().filter(|finding| finding.rule == "c") {
            finding.severity = Severity::Blocker;
        }
    }),
    ("a Seed made anew", |basis, salt| {
        basis.eu(|seed| seed.uid = format!("uid-{salt}"));
    }),
    ("an installer that cannot be prepared", |basis, _| {
        basis.platform.installer = Known::Unknown("forbidden".to_owned());
    }),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_stays_under_what_does_not_matter(changes in prop::collection::vec((0..IRRELEVANT.len(), any::<u16>()), 1..8)) {
        let (first, mut basis) = (Basis::new().digest(), Basis::new());
        for (number, salt) in changes {
            let (name, change) = IRRELEVANT[number];
            change(&mut basis, salt);
            prop_assert_eq!(&basis.digest(), &first, "{}", name);
        }
    }

    #[test]
    fn it_tells_what_matters(relevant in 0..RELEVANT.len(), salt in any::<u16>(), noise in 0..IRRELEVANT.len()) {
        let (mut basis, (name, change)) = (Basis::new(), RELEVANT[relevant]);
        IRRELEVANT[noise].1(&mut basis, salt);
        change(&mut basis, salt);
        prop_assert_ne!(basis.digest(), Basis::new().digest(), "{}", name);
    }
}
