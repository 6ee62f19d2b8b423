//! Stand-in of kubermatic-operator: rolls the master's programs, then every seed's, at its own compiled version
//! (KKP 2.31 source, pkg/controller/operator). There is no version field to set: a new operator image is the upgrade.

mod access;
mod custom_resources;
mod master;
mod roll;
mod seed;
mod webhooks;
mod workloads;

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::Error;
use crate::script::{Script, pause};
use crate::seed_workers;
use crate::start::Process;

/// Field manager of everything that the operator writes.
const MANAGER: &str = "kubermatic-operator";

/// Runs until it fails.
pub(crate) async fn run(process: Arc<Process>) -> Result<(), Error> {
    pause(Script::load().operator.start_ms).await;
    let mut parts = JoinSet::new();
    parts.spawn(master::run(Arc::clone(&process)));
    parts.spawn(seed_workers::run(process, |process, name, nudge| {
        seed::Worker::new(process, name, nudge).run()
    }));
    match parts.join_next().await {
        Some(Ok(ended)) => ended,
        Some(Err(error)) => Err(Error::Refused(format!("a part of the operator ended: {error}"))),
        None => Ok(()),
    }
}
