//! Stand-in of kubermatic-webhook: answers admission reviews over TLS and publishes its address, because the test bed has no
//! Services. While it is away, every write to KKP's objects fails (`failurePolicy: Fail`), as with the real one.

mod publish;
mod serve;
mod validate;

use std::sync::Arc;

use crate::Error;
use crate::script::{Script, pause};
use crate::start::Process;

/// Runs until it fails.
pub(crate) async fn run(process: Arc<Process>) -> Result<(), Error> {
    pause(Script::load().webhook.start_ms).await;
    let server = serve::Server::bind().await?;
    let address = server.address();
    tokio::select! {
        ended = publish::run(&process, &address) => ended,
        ended = server.run(Arc::clone(&process)) => ended,
    }
}
