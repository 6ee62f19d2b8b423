//! The catalogue of a round: the compiled-in one, with what ConfigMap `kkp-upgrade-catalogue` adds to it and replaces.
//! Reads the master, and tells about the ConfigMap in an event; never writes the ConfigMap.
//!
//! A round takes one snapshot and never mixes two. A ConfigMap that is refused leaves the compiled-in catalogue in force;
//! one that could not be read leaves nothing: it may hold blockers.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use kkp_upgrade_core::facts::Known;
use kkp_upgrade_core::reason::Reason;
use kkp_upgrade_core::request::{Request, SpecError};
use kkp_upgrade_core::rules::{Catalogue, FixProblem, RiskProblem, fix_problems, risk_problems};
use kube::runtime::events::{Event, EventType};
use kube::{Api, Client, Resource, ResourceExt};
use tokio::sync::Mutex;

use crate::call::{CallError, call};
use crate::context::Context;

/// The ConfigMap, in the operator's namespace.
pub const CONFIG_MAP: &str = "kkp-upgrade-catalogue";

/// Longest note of an event, in bytes: the API server takes 1024.
const NOTE_BYTES: usize = 1000;

/// The catalogue that one round works with.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Rules and releases.
    pub catalogue: Arc<Catalogue>,
    /// Why the ConfigMap does not count; `None` = it does, or is not there.
    pub refused: Option<String>,
}

/// The compiled-in catalogue, and the last one that was made of the ConfigMap: to make one takes seconds.
pub struct Catalogues {
    compiled: Arc<Catalogue>,
    loaded: Mutex<Option<Loaded>>,
}

/// What became of one version of the ConfigMap.
struct Loaded {
    version: Version,
    snapshot: Snapshot,
}

/// UID and resourceVersion.
type Version = (Option<String>, Option<String>);

impl Catalogues {
    /// Nothing but the compiled-in catalogue yet.
    #[must_use]
    pub fn new(compiled: Arc<Catalogue>) -> Self {
        Self {
            compiled,
            loaded: Mutex::default(),
        }
    }

    fn compiled(&self) -> Snapshot {
        Snapshot {
            catalogue: self.compiled.clone(),
            refused: None,
        }
    }

    async fn known(&self, version: &Version) -> Option<Snapshot> {
        let loaded = self.loaded.lock().await;
        let same = loaded.as_ref().filter(|loaded| loaded.version == *version);
        same.map(|loaded| loaded.snapshot.clone())
    }

    /// What the ConfigMap makes of the catalogue, and whether that is news.
    async fn load(&self, found: &ConfigMap) -> (Snapshot, bool) {
        let version = version(found);
        // Rounds that want the same wait for the first of them.
        let mut loaded = self.loaded.lock().await;
        if let Some(loaded) = loaded.as_ref().filter(|loaded| loaded.version == version) {
            return (loaded.snapshot.clone(), false);
        }
        let snapshot = match overlaid(found).await {
            Ok(catalogue) => Snapshot {
                catalogue: Arc::new(catalogue),
                refused: None,
            },
            Err(why) => Snapshot {
                refused: Some(why),
                ..self.compiled()
            },
        };
        *loaded = Some(Loaded {
            version,
            snapshot: snapshot.clone(),
        });
        (snapshot, true)
    }
}

/// The catalogue as it is now.
///
/// # Errors
/// When nobody can say whether there is a ConfigMap, or what it says: that is not the compiled-in catalogue.
pub async fn read(context: &Context) -> Result<Snapshot, CallError> {
    let config_maps = Api::<ConfigMap>::namespaced(context.client.clone(), &context.namespace);
    let what = format!("ConfigMap {CONFIG_MAP}");
    // It may have a mebibyte, and is looked at in every round.
    let head = call(what.clone(), config_maps.get_metadata_opt(CONFIG_MAP)).await?;
    let Some(head) = head else {
        return Ok(without(context).await);
    };
    if let Some(snapshot) = context.catalogues.known(&version(&head)).await {
        return Ok(snapshot);
    }
    let Some(found) = call(what, config_maps.get_opt(CONFIG_MAP)).await? else {
        return Ok(without(context).await);
    };
    let (snapshot, news) = context.catalogues.load(&found).await;
    if news {
        tell(context, &found, &snapshot).await;
    }
    Ok(snapshot)
}

/// The catalogue as it is now, for one look by somebody who keeps nothing and tells nobody.
///
/// # Errors
/// When the ConfigMap cannot be read.
pub async fn read_once(client: &Client, namespace: &str, compiled: Arc<Catalogue>) -> Result<Snapshot, CallError> {
    let config_maps = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    let found = call(format!("ConfigMap {CONFIG_MAP}"), config_maps.get_opt(CONFIG_MAP)).await?;
    let catalogues = Catalogues::new(compiled);
    Ok(match found {
        Some(found) => catalogues.load(&found).await.0,
        None => catalogues.compiled(),
    })
}

async fn without(context: &Context) -> Snapshot {
    context.metrics.catalogue_refused(false);
    *context.catalogues.loaded.lock().await = None;
    context.catalogues.compiled()
}

fn version(object: &impl ResourceExt) -> Version {
    (object.uid(), object.resource_version())
}

/// The compiled-in catalogue with the ConfigMap on it, or what is wrong with the ConfigMap.
async fn overlaid(found: &ConfigMap) -> Result<Catalogue, String> {
    if let Some(key) = found.binary_data.iter().flatten().map(|(key, _)| key).next() {
        return Err(format!("{key}: binary data is refused: write it as text"));
    }
    let data: BTreeMap<String, String> = found.data.clone().unwrap_or_default();
    let loading = tokio::task::spawn_blocking(move || Catalogue::overlaid(Catalogue::embedded_files(), &data));
    match loading.await {
        Ok(loaded) => loaded.map_err(|error| error.summary()),
        Err(_) => Err("it could not be loaded: take away what was added last".to_owned()),
    }
}

/// Tells people what became of the ConfigMap. An event that cannot be written is logged and stops nothing.
async fn tell(context: &Context, found: &ConfigMap, snapshot: &Snapshot) {
    context.metrics.catalogue_refused(snapshot.refused.is_some());
    let digest = &snapshot.catalogue.identity().digest;
    let (type_, reason, note) = if let Some(why) = &snapshot.refused {
        tracing::warn!(why, "ConfigMap {CONFIG_MAP} is refused");
        let note = format!("refused as a whole, the compiled-in catalogue counts: {why}");
        (EventType::Warning, Reason::CatalogueRefused, note)
    } else {
        tracing::info!(digest, "ConfigMap {CONFIG_MAP} is in force");
        let note = format!("in force: catalogue {digest}");
        (EventType::Normal, Reason::CatalogueInForce, note)
    };
    let event = Event {
        type_,
        reason: reason.to_string(),
        note: note.get(..note.floor_char_boundary(NOTE_BYTES)).map(str::to_owned),
        action: "LoadCatalogue".to_owned(),
        secondary: None,
    };
    let reference = found.object_ref(&());
    if let Err(error) = call("event", context.recorder.publish(&event, &reference)).await {
        tracing::warn!(%error, "an event about ConfigMap {CONFIG_MAP} could not be written");
    }
}

/// Accepted risks must name rules that exist and may be accepted.
///
/// A rule that only the ConfigMap has is unknown while that is refused, and everything is while it cannot be read: then an
/// entry that names none is left alone, as it accepts nothing.
///
/// # Errors
/// The first entry that is wrong.
pub fn check_rules(request: Request, catalogue: &Known<Snapshot>) -> Result<Request, SpecError> {
    let Known::Is(snapshot) = catalogue else {
        return Ok(request);
    };
    let problems = risk_problems(&snapshot.catalogue, &request.accepted_risks);
    let counts = |problem: &&RiskProblem| snapshot.refused.is_none() || !matches!(problem, RiskProblem::UnknownRule(_));
    match problems.iter().find(counts) {
        Some(problem) => Err(SpecError {
            field: "acceptedRisks".to_owned(),
            problem: problem.to_string(),
        }),
        None => check_fixes(request, snapshot),
    }
}

/// Fixes must name rules that have one; one that is unknown only because the ConfigMap is refused is left to Preflight.
fn check_fixes(request: Request, snapshot: &Snapshot) -> Result<Request, SpecError> {
    let problems = fix_problems(&snapshot.catalogue, &request.fixes);
    let counts = |problem: &&FixProblem| snapshot.refused.is_none() || !matches!(problem, FixProblem::UnknownRule(..));
    match problems.iter().find(counts) {
        Some(problem) => Err(SpecError {
            field: "fixes".to_owned(),
            problem: problem.to_string(),
        }),
        None => Ok(request),
    }
}

#[cfg(test)]
#[path = "catalogue_tests.rs"]
mod tests;
