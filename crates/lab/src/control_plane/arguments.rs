//! The command lines of a control plane's programs. Pure.

use std::ffi::OsString;
use std::path::Path;

use super::pki::Pki;

/// What the command lines depend on.
pub(super) struct Layout<'a> {
    pub(super) folder: &'a Path,
    pub(super) pki: &'a Pki,
    pub(super) port: u16,
    pub(super) audit: bool,
}

/// The built-in controllers that the lab needs: those that KKP, Helm and Jobs lean on, and nothing that wants a cloud,
/// a scheduler or a network.
const CONTROLLERS: [&str; 12] = [
    "clusterrole-aggregation-controller",
    "deployment-controller",
    "disruption-controller",
    "garbage-collector-controller",
    "job-controller",
    "namespace-controller",
    "replicaset-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "statefulset-controller",
    "ttl-after-finished-controller",
];

/// Records every write with the object that came out of it, and of reads who read what. Without bodies: what is written
/// all the time and tells nothing about a platform (leases of nodes and controllers, nodes, events), and reviews and
/// tokens, which are questions and not objects.
pub(super) const AUDIT_POLICY: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy",
 "omitStages": ["RequestReceived"], "omitManagedFields": true, "rules": [
  {"level": "None", "verbs": ["get", "list", "watch"], "users": ["system:apiserver", "system:kube-controller-manager"]},
  {"level": "None", "nonResourceURLs": ["*"]},
  {"level": "Metadata", "verbs": ["get", "list", "watch"]},
  {"level": "Metadata", "resources": [{"group": "", "resources": ["events", "nodes", "nodes/status", "serviceaccounts/token"]},
    {"group": "events.k8s.io"}, {"group": "authentication.k8s.io"}, {"group": "authorization.k8s.io"}]},
  {"level": "Metadata", "namespaces": ["kube-system", "kube-node-lease"],
   "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}]},
  {"level": "RequestResponse"}]}
"#;

impl Layout<'_> {
    pub(super) fn etcd_data(&self) -> std::path::PathBuf {
        self.folder.join("etcd")
    }

    pub(super) fn etcd_socket(&self) -> std::path::PathBuf {
        self.folder.join("etcd.sock")
    }

    pub(super) fn etcd(&self) -> Vec<OsString> {
        let clients = format!("unix://{}", self.etcd_socket().display());
        let peers = format!("unix://{}", self.folder.join("peer.sock").display());
        // A lone member calls nobody: its advertised addresses only have to look like some, and a socket does not.
        let nowhere = "http://127.0.0.1:2380".to_owned();
        flags([
            ("name", "lab".to_owned()),
            ("data-dir", text(&self.etcd_data())),
            ("listen-client-urls", clients),
            ("advertise-client-urls", nowhere.clone()),
            ("listen-peer-urls", peers),
            ("initial-advertise-peer-urls", nowhere.clone()),
            ("initial-cluster", format!("lab={nowhere}")),
            // The machine is not expected to lose power while a lab runs; kill -9 loses nothing that was written.
            ("unsafe-no-fsync", "true".to_owned()),
            ("auto-compaction-retention", "0".to_owned()),
            ("log-level", "warn".to_owned()),
        ])
    }

    pub(super) fn kube_apiserver(&self) -> Vec<OsString> {
        let pki = |file: &str| text(&self.pki.path(file));
        let mut arguments = flags([
            ("etcd-servers", format!("unix://{}", self.etcd_socket().display())),
            ("bind-address", "127.0.0.1".to_owned()),
            ("advertise-address", "127.0.0.1".to_owned()),
            // A loopback address is no valid endpoint; nothing in the lab goes through Services.
            ("endpoint-reconciler-type", "none".to_owned()),
            ("secure-port", self.port.to_string()),
            ("tls-cert-file", pki("apiserver.crt")),
            ("tls-private-key-file", pki("apiserver.key")),
            ("client-ca-file", pki("ca.crt")),
            ("authorization-mode", "RBAC".to_owned()),
            (
                "service-account-issuer",
                "https://kubernetes.default.svc.cluster.local".to_owned(),
            ),
            ("service-account-key-file", pki("service-account.pub")),
            ("service-account-signing-key-file", pki("service-account.key")),
            ("service-cluster-ip-range", "10.96.0.0/16".to_owned()),
            ("allow-privileged", "true".to_owned()),
            // How it reads logs of Pods: the pod runner listens on the loopback address, and the Node's name is in no DNS.
            ("kubelet-preferred-address-types", "InternalIP".to_owned()),
            ("kubelet-client-certificate", pki("admin.crt")),
            ("kubelet-client-key", pki("admin.key")),
            ("profiling", "false".to_owned()),
        ]);
        if self.audit {
            arguments.extend(flags([
                ("audit-log-path", text(&self.folder.join("audit.log"))),
                // Never cut in two while a lab lives: whoever reads the log reads one file.
                ("audit-log-maxsize", "2000".to_owned()),
                ("audit-policy-file", text(&self.folder.join("audit-policy.json"))),
            ]));
        }
        arguments
    }

    pub(super) fn kube_controller_manager(&self) -> Vec<OsString> {
        flags([
            ("kubeconfig", text(&self.folder.join("kubeconfig"))),
            ("controllers", CONTROLLERS.join(",")),
            ("leader-elect", "false".to_owned()),
            ("secure-port", "0".to_owned()),
            ("root-ca-file", text(&self.pki.path("ca.crt"))),
            (
                "service-account-private-key-file",
                text(&self.pki.path("service-account.key")),
            ),
            ("kube-api-qps", "500".to_owned()),
            ("kube-api-burst", "1000".to_owned()),
            ("namespace-sync-period", "10s".to_owned()),
            ("profiling", "false".to_owned()),
        ])
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn flags<const N: usize>(pairs: [(&str, String); N]) -> Vec<OsString> {
    pairs
        .into_iter()
        .map(|(name, value)| OsString::from(format!("--{name}={value}")))
        .collect()
}
