//! Wires the parts: the only place that knows them all.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Parser;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kkp_upgrade_api::KKPUpgradeObject;
use kkp_upgrade_connection::{Connector, Peer};
use kkp_upgrade_core::rules::Catalogue;
use kube::runtime::controller::Error as ControllerError;
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::{Controller, watcher};
use kube::{Api, Client, Config};
use tokio_util::sync::CancellationToken;

use crate::arguments::{Arguments, Command, RunArguments};
use crate::call::call;
use crate::catalogue::Catalogues;
use crate::context::{Context, FIELD_MANAGER};
use crate::http::{self, Health};
use crate::leader::{self, LeaderConfig};
use crate::metrics::Metrics;
use crate::observe::{RECENT, RecentLook};
use crate::outside::Outside;
use crate::reconcile::{error_policy, reconcile};
use crate::refusals::Refusals;
use crate::seeds::SeedConnections;
use crate::watches::{self, Trigger};
use crate::{deadline, prepare, record, telemetry};

/// Rounds at the same time: each KKPUpgrade has one, and more than one works at a time only in dry runs.
const CONCURRENCY: u16 = 4;
/// Without a beat for this long the process counts as stuck.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often an idle process beats.
const BEAT: Duration = Duration::from_secs(5);
/// Worker threads: the work is waiting for API servers.
const WORKERS: usize = 2;

/// Runs what the command line says.
#[must_use]
pub fn run(arguments: Vec<OsString>, connector: Connector) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are errors to clap, with code 0.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    if let Err(error) = telemetry::init(arguments.log_format, &arguments.log_filter) {
        let _ = writeln!(std::io::stderr().lock(), "log: {error}");
        return ExitCode::FAILURE;
    }
    // One TLS provider in the whole process; a second installation is refused and harmless.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match execute(arguments.command, connector) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "stopped");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command, connector: Connector) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()?;
    match command {
        Command::Run(arguments) => {
            let result = runtime.block_on(Box::pin(operate(*arguments, connector)));
            // Who may not act any more does not wait for what it has begun either.
            runtime.shutdown_background();
            result
        }
        Command::Prepare(arguments) => Ok(runtime.block_on(Box::pin(prepare::run(*arguments, &connector)))?),
        Command::Backup(arguments) => {
            runtime.block_on(Box::pin(kkp_upgrade_backup::run(*arguments, &connector)))?;
            Ok(())
        }
        Command::Restore(arguments) => {
            let report = runtime.block_on(Box::pin(kkp_upgrade_backup::restore(*arguments, &connector)))?;
            std::io::stdout().lock().write_all(report.text().as_bytes())?;
            Ok(())
        }
        Command::Check(arguments) => {
            runtime.block_on(Box::pin(kkp_upgrade_backup::check(*arguments)))?;
            Ok(())
        }
        Command::Send(arguments) => {
            let (lines, _) = runtime.block_on(Box::pin(kkp_upgrade_backup::send(*arguments)))?;
            let mut output = std::io::stdout().lock();
            lines.iter().try_for_each(|line| writeln!(output, "{line}"))?;
            Ok(())
        }
        Command::Retention(arguments) => {
            runtime.block_on(Box::pin(crate::retention::run(*arguments, &connector)))?;
            Ok(())
        }
        Command::Crd => {
            let text = serde_saphyr::to_string(&kkp_upgrade_api::crd())?;
            std::io::stdout().lock().write_all(text.as_bytes())?;
            Ok(())
        }
    }
}

async fn operate(arguments: RunArguments, connector: Connector) -> anyhow::Result<()> {
    let timings = arguments.leader_timings();
    timings.check().context("leader election")?;
    deadline::set(arguments.call_deadline);
    let config = Config::infer().await.context("no access to the API server")?;
    let context = Arc::new(build_context(&config, &connector, &arguments).await?);
    let stop = CancellationToken::new();
    let mut serving = tokio::spawn(http::serve(
        arguments.http_address,
        context.metrics.clone(),
        context.health.clone(),
        stop.clone(),
    ));
    let leadership = leader::start(LeaderConfig {
        kube: config,
        connector,
        namespace: arguments.namespace.clone(),
        identity: arguments.pod_uid.clone(),
        timings,
    });
    context.health.set_ready("configuration");
    tracing::info!(namespace = arguments.namespace, "waiting to become the leader");
    tokio::select! {
        acquired = leadership.acquired() => acquired?,
        () = terminated() => { leadership.release().await; return Ok(()) }
        result = &mut serving => { result??; bail!("the health server ended") }
    }
    context.metrics.leader(true);
    tracing::info!("leading");
    watches::follow_master(&context, &arguments.namespace);
    tokio::spawn(beat(context.health.clone()));
    let result = tokio::select! {
        () = control(context.clone()) => Err(anyhow::anyhow!("the controller ended")),
        ended = leadership.lost() => Err(ended.into()),
        result = &mut serving => Err(anyhow::anyhow!("the health server ended: {result:?}")),
        () = terminated() => Ok(()),
    };
    stop.cancel();
    if result.is_ok() {
        tracing::info!("asked to stop");
        leadership.release().await;
    }
    result
}

/// Everything is in the API: a round that is cut off by a stop is made again by the next operator, so stopping needs no
/// waiting.
async fn control(context: Arc<Context>) {
    let upgrades = Api::<KKPUpgradeObject>::all(context.client.clone());
    let controller = Controller::new(upgrades, watcher::Config::default())
        .with_config(kube::runtime::controller::Config::default().concurrency(CONCURRENCY))
        .reconcile_all_on(context.trigger.stream());
    context.trigger.know(controller.store());
    controller
        .run(reconcile, error_policy, context.clone())
        .for_each(|result| {
            context.health.beat();
            match result {
                Ok(_) | Err(ControllerError::ReconcilerFailed(..)) => {}
                Err(ControllerError::ObjectNotFound(gone)) => {
                    let namespace = gone.namespace.unwrap_or_default();
                    context.metrics.forget(&namespace, &gone.name);
                    context.trigger.forget(&namespace, &gone.name);
                }
                Err(error) => tracing::warn!(%error, "watch of KKPUpgrades"),
            }
            std::future::ready(())
        })
        .await;
}

/// An idle process is alive: it beats as long as the runtime runs its tasks.
async fn beat(health: Health) {
    let mut ticks = tokio::time::interval(BEAT);
    loop {
        ticks.tick().await;
        health.beat();
    }
}

async fn build_context(config: &Config, connector: &Connector, arguments: &RunArguments) -> anyhow::Result<Context> {
    let client = connector.connect(&Peer::Master, config.clone())?;
    let catalogue = Catalogue::embedded_shared()
        .map_err(|error| anyhow::anyhow!("{error}"))
        .context("the compiled-in catalogue")?;
    let image = match &arguments.image {
        Some(image) => image.clone(),
        None => own_image(&client, &arguments.namespace, &arguments.pod_name).await?,
    };
    let reporter = Reporter {
        controller: FIELD_MANAGER.to_owned(),
        instance: Some(arguments.pod_name.clone()),
    };
    Ok(Context {
        recorder: Recorder::new(client.clone(), reporter),
        client,
        namespace: arguments.namespace.clone(),
        pod_uid: arguments.pod_uid.clone(),
        pod_name: arguments.pod_name.clone(),
        image,
        default_backup_claim: arguments.default_backup_claim.clone(),
        catalogues: Catalogues::new(catalogue),
        timing: arguments.timing(),
        seeds: SeedConnections::new(connector.clone()),
        outside: Outside::default(),
        metrics: Metrics::new(env!("CARGO_PKG_VERSION")),
        health: Health::new(&["configuration"], PATIENCE),
        recent: RecentLook::new(RECENT),
        trigger: Trigger::new(arguments.resync),
        writes: record::WriteClock::default(),
        refusals: Refusals::default(),
        effects: std::sync::atomic::AtomicU64::new(0),
    })
}

/// The image that this Pod runs: Jobs run the very same.
async fn own_image(client: &Client, namespace: &str, pod: &str) -> anyhow::Result<String> {
    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    let pod = call(format!("own Pod {namespace}/{pod}"), api.get(pod)).await?;
    let containers = pod.spec.map(|spec| spec.containers).unwrap_or_default();
    let own = containers
        .iter()
        .find(|container| container.name == "operator")
        .or_else(|| containers.first());
    own.and_then(|container| container.image.clone())
        .context("the own Pod has no image")
}

/// SIGTERM or Ctrl-C.
async fn terminated() {
    let interrupt = tokio::signal::ctrl_c();
    match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = interrupt => {}
            _ = terminate.recv() => {}
        },
        Err(_) => drop(interrupt.await),
    }
}
