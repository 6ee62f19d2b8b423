//! What a request is, by names that are the same in every run. Pure.

use http::{Method, Uri};
use kkp_upgrade_connection::Peer;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Verb {
    /// One object, or something that is no object.
    Get,
    /// Many objects.
    List,
    /// A watch.
    Watch,
    /// POST.
    Create,
    /// PUT.
    Update,
    /// PATCH.
    Patch,
    /// DELETE of one object.
    Delete,
    /// DELETE of many objects.
    DeleteCollection,
    /// A write of any kind that is only tried, `dryRun=All`.
    DryRun,
}

impl Verb {
    /// Whether it can change something.
    #[must_use]
    pub fn is_write(self) -> bool {
        !matches!(self, Self::Get | Self::List | Self::Watch | Self::DryRun)
    }
}

/// One call.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    /// Who calls.
    pub peer: String,
    /// What is done.
    pub verb: Verb,
    /// Plural of the kind; the path for what is no object.
    pub resource: String,
    /// Name of the object; what differs from run to run is replaced.
    pub name: String,
    /// Subresource.
    pub subresource: String,
    /// Phase and step that the last status write had in it, for a status write its own: `Deploying/Master`; with `+job` where
    /// the step has a Job.
    pub during: String,
}

impl std::fmt::Display for Call {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (peer, verb, resource) = (&self.peer, self.verb, &self.resource);
        write!(formatter, "{peer} {verb} {resource}")?;
        if !self.name.is_empty() {
            write!(formatter, "/{}", self.name)?;
        }
        if !self.subresource.is_empty() {
            write!(formatter, "/{}", self.subresource)?;
        }
        write!(formatter, " during {}", self.during)
    }
}

/// Name of a peer in plans and records.
#[must_use]
pub fn peer_name(peer: &Peer) -> String {
    match peer {
        Peer::Master => "master".to_owned(),
        Peer::LeaderElection => "leader-election".to_owned(),
        Peer::Seed { name } => format!("seed/{name}"),
        Peer::UserCluster { seed, name } => format!("user-cluster/{seed}/{name}"),
        Peer::Preparation => "preparation".to_owned(),
        Peer::Backup => "backup".to_owned(),
    }
}

/// The call of a request, with the name as it stands in it and an empty `during`.
pub(super) fn parse(peer: &str, method: &Method, uri: &Uri, body: &[u8]) -> Call {
    let path: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
    let below_version = match path.as_slice() {
        ["api", _version, rest @ ..] | ["apis", _, _version, rest @ ..] => rest,
        _ => &[],
    };
    let (resource, name, subresource) = match below_version {
        [] => (uri.path().to_owned(), "", ""),
        ["namespaces", _, resource, rest @ ..] if !matches!(*resource, "status" | "finalize") => {
            ((*resource).to_owned(), part(rest, 0), part(rest, 1))
        }
        [resource, rest @ ..] => ((*resource).to_owned(), part(rest, 0), part(rest, 1)),
    };
    let is_object = !below_version.is_empty();
    let asks = |wanted: &str| {
        uri.query()
            .is_some_and(|query| query.split('&').any(|pair| pair == wanted))
    };
    let verb = match *method {
        _ if asks("dryRun=All") => Verb::DryRun,
        Method::POST => Verb::Create,
        Method::PUT => Verb::Update,
        Method::PATCH => Verb::Patch,
        Method::DELETE if name.is_empty() => Verb::DeleteCollection,
        Method::DELETE => Verb::Delete,
        _ if asks("watch=true") => Verb::Watch,
        _ if is_object && name.is_empty() => Verb::List,
        _ => Verb::Get,
    };
    let name = if verb == Verb::Create && name.is_empty() {
        name_in(body)
    } else {
        name.to_owned()
    };
    Call {
        peer: peer.to_owned(),
        verb,
        resource,
        name,
        subresource: subresource.to_owned(),
        during: String::new(),
    }
}

fn part<'a>(parts: &[&'a str], index: usize) -> &'a str {
    parts.get(index).copied().unwrap_or_default()
}

fn name_in(body: &[u8]) -> String {
    let object: Value = serde_json::from_slice(body).unwrap_or_default();
    let name = object.pointer("/metadata/name").and_then(Value::as_str);
    name.unwrap_or_default().to_owned()
}

/// Where the run is after this call, if it says so.
pub(super) fn place(call: &Call, body: &[u8]) -> Option<String> {
    if call.resource != "kkpupgrades" || call.subresource != "status" || !call.verb.is_write() {
        return None;
    }
    let object: Value = serde_json::from_slice(body).ok()?;
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let job = if object.pointer("/status/step/job").is_some() {
        "+job"
    } else {
        ""
    };
    let target = match text("/status/step/target") {
        "" => String::new(),
        target => format!("/{target}"),
    };
    Some(format!(
        "{}/{}{target}{job}",
        text("/status/phase"),
        text("/status/step/name")
    ))
}

/// A name without what differs from run to run: the parts that are hashes are `#`.
pub(super) fn stem(name: &str) -> String {
    let parts: Vec<&str> = name.split_inclusive(['-', '.']).collect();
    let mut stem = String::new();
    for (index, part) in parts.iter().enumerate() {
        let (text, separator) = part
            .strip_suffix(['-', '.'])
            .map_or((*part, ""), |text| (text, part.get(text.len()..).unwrap_or_default()));
        let hash = index > 0 && is_hash(text, index + 1 == parts.len());
        stem.push_str(if hash { "#" } else { text });
        stem.push_str(separator);
    }
    stem
}

/// Hexadecimal digits of a digest, a time or a `ReplicaSet`, or the five characters at the end of a Pod's name.
fn is_hash(text: &str, last: bool) -> bool {
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let hexadecimal = text.len() >= 8 && text.chars().all(|letter| letter.is_ascii_hexdigit()) && digits > 0;
    let random = |letter: char| "bcdfghjklmnpqrstvwxz2456789".contains(letter);
    let replica_set = (8..=10).contains(&text.len()) && text.chars().all(random) && digits > 0;
    hexadecimal || replica_set || (last && text.len() == 5 && text.chars().all(random) && digits > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: &Method, uri: &str, body: &str) -> String {
        parse("master", method, &uri.parse().unwrap(), body.as_bytes()).to_string()
    }

    #[test]
    fn a_request_is_a_verb_on_an_object() {
        let get = Method::GET;
        let namespaced = "/apis/upgrade.k8c.io/v1alpha1/namespaces/kubermatic/kkpupgrades";
        assert_eq!(
            call(&get, "/api/v1/namespaces/kube-system", ""),
            "master get namespaces/kube-system during "
        );
        assert_eq!(
            call(&get, &format!("{namespaced}?&limit=500"), ""),
            "master list kkpupgrades during "
        );
        assert_eq!(
            call(&get, "/api/v1/pods?&watch=true&x=1", ""),
            "master watch pods during "
        );
        assert_eq!(
            call(&Method::PATCH, &format!("{namespaced}/u?&dryRun=All"), ""),
            "master dry-run kkpupgrades/u during "
        );
        assert_eq!(call(&get, "/version", ""), "master get /version during ");
        assert_eq!(
            call(&Method::PUT, &format!("{namespaced}/u/status?&fieldManager=x"), ""),
            "master update kkpupgrades/u/status during "
        );
        assert_eq!(
            call(
                &Method::POST,
                "/apis/batch/v1/namespaces/kubermatic/jobs",
                r#"{"metadata": {"name": "j"}}"#
            ),
            "master create jobs/j during "
        );
    }

    #[test]
    fn hashes_do_not_count() {
        assert_eq!(stem("kkpu-installer-0a1b2c3d4e"), "kkpu-installer-#");
        assert_eq!(
            stem("kkp-upgrade-operator-6c4f8d9bf7-x2k4z"),
            "kkp-upgrade-operator-#-#"
        );
        assert_eq!(stem("w1.1a2b3c4d5e6f7a8b"), "w1.#");
        for name in [
            "kubermatic",
            "u-plan",
            "kkp-upgrade-active",
            "sh.helm.release.v1.cert-manager.v2",
            "eu-001",
        ] {
            assert_eq!(stem(name), name);
        }
    }

    #[test]
    fn a_status_write_says_where_the_run_is() {
        let uri: Uri = "/apis/upgrade.k8c.io/v1alpha1/namespaces/k/kkpupgrades/u/status"
            .parse()
            .unwrap();
        let body = r#"{"status": {"phase": "Deploying", "step": {"name": "Master", "job": "x"}}}"#;
        let call = parse("master", &Method::PUT, &uri, body.as_bytes());
        assert_eq!(place(&call, body.as_bytes()).unwrap(), "Deploying/Master+job");
        assert_eq!(place(&parse("master", &Method::GET, &uri, b""), b""), None);
    }
}
