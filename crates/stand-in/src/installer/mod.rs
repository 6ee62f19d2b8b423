//! Stand-in of `kubermatic-installer`: same command line, checks, output, exit codes, Helm releases and purge rule as the real one
//! (KKP source, `cmd/kubermatic-installer` and `pkg/install`), and a ledger of every run.
//!
//! Talks to the master and, for the checks, to every seed. Must never do what the real one would not.

pub mod access;
pub mod arguments;
mod charts;
mod cluster_objects;
mod deploy;
pub mod faults;
mod field;
mod files;
pub mod helm;
pub mod ledger;
pub mod log;
mod state;
mod validation;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use self::arguments::{Arguments, Command, Deploy, Environment, Refusal};
use self::deploy::Run;
use self::faults::Crash;
use self::ledger::Ledger;
use self::log::{Log, Sink};
use crate::release::Release;

/// What a run has from its process; tests give their own.
pub struct Surroundings {
    /// Environment variables.
    pub environment: Environment,
    /// What is compiled into the real program.
    pub release: Release,
    /// Folder of `script.yaml` and `ledger.jsonl`.
    pub state_folder: PathBuf,
    /// Where the log goes.
    pub output: Sink,
}

/// Runs the program with the arguments after its name.
#[must_use]
pub fn run(args: Vec<OsString>) -> ExitCode {
    let release = match Release::load() {
        Ok(release) => release,
        Err(error) => return complain(&format!("❌ Operation failed: {error}.")),
    };
    let surroundings = Surroundings {
        environment: std::env::vars().collect(),
        release,
        state_folder: crate::script::state_folder(),
        output: Arc::new(Mutex::new(std::io::stdout())),
    };
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => ExitCode::from(runtime.block_on(run_in(args, surroundings))),
        Err(error) => complain(&format!("❌ Operation failed: no runtime: {error}.")),
    }
}

fn complain(message: &str) -> ExitCode {
    // Nothing is left to do when standard error is gone as well.
    let _ = writeln!(std::io::stderr().lock(), "{message}");
    ExitCode::from(1)
}

/// Runs the program in given surroundings, to its exit code.
pub async fn run_in(args: Vec<OsString>, surroundings: Surroundings) -> u8 {
    let words = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let arguments = match arguments::parse(args, &surroundings.environment) {
        Ok(arguments) => arguments,
        Err(Refusal::Help(text)) => return say(&surroundings.output, &text, 0),
        Err(Refusal::Usage(text)) => return say(&surroundings.output, &format!("Error: {text}"), 1),
    };
    let Arguments { command, output, .. } = arguments;
    match command {
        Command::Version { short } => say(&surroundings.output, &version(&surroundings.release, short), 0),
        Command::Print { kind } => match printed(&surroundings.release, &kind) {
            Ok(text) => say(&surroundings.output, &text, 0),
            Err(text) => say(&surroundings.output, &format!("Error: {text}"), 1),
        },
        Command::Deploy(deploy) => deploy_until_signal(*deploy, words, &output, surroundings).await,
    }
}

fn say(output: &Sink, text: &str, code: u8) -> u8 {
    if let Ok(mut output) = output.lock() {
        let _ = writeln!(output, "{}", text.trim_end());
    }
    code
}

fn version(release: &Release, short: bool) -> String {
    let version = &release.version;
    if short {
        return version.clone();
    }
    format!("Component            | Version\nKubermatic Installer | {version}\nkubermatic-operator  | {version}")
}

fn printed(release: &Release, kind: &str) -> Result<String, String> {
    let object = match kind.to_lowercase().as_str() {
        "kubermaticconfiguration" => json!({
            "apiVersion": "kubermatic.k8c.io/v1", "kind": "KubermaticConfiguration",
            "metadata": {"name": "kubermatic", "namespace": "kubermatic"},
            "spec": {
                "seedController": {"maximumParallelReconciles": 10},
                "versions": {"default": release.kubernetes.default, "versions": release.kubernetes.versions},
            },
        }),
        "seed" => json!({
            "apiVersion": "kubermatic.k8c.io/v1", "kind": "Seed",
            "metadata": {"name": "<<exampleseed>>", "namespace": "kubermatic"},
        }),
        other => {
            return Err(format!(
                "unknown object \"{other}\", must be one of [kubermaticconfiguration, seed]"
            ));
        }
    };
    serde_saphyr::to_string(&object).map_err(|error| error.to_string())
}

/// A signal ends the run wherever it is, as in the real program, which does not handle any: exit code 2 as the first process of
/// a container (Go's runtime), 143 else.
async fn deploy_until_signal(deploy: Deploy, words: Vec<String>, output: &str, surroundings: Surroundings) -> u8 {
    let log = Log::new(surroundings.output, output == "json");
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return 1;
    };
    let work = deploy_and_note(
        deploy,
        words,
        &log,
        surroundings.release,
        surroundings.environment,
        surroundings.state_folder,
    );
    tokio::select! {
        code = work => code,
        _ = terminate.recv() => if std::process::id() == 1 { 2 } else { 143 },
    }
}

async fn deploy_and_note(
    deploy: Deploy,
    words: Vec<String>,
    log: &Log,
    release: Release,
    environment: Environment,
    state_folder: PathBuf,
) -> u8 {
    let ledger = match Ledger::open(&state_folder) {
        Ok(ledger) => ledger,
        Err(error) => return fail(log, &error),
    };
    let server = server_of(&deploy);
    let run = Run {
        deploy,
        release,
        environment,
        state_folder,
        log: log.clone(),
        ledger,
    };
    if let Err(error) = run.ledger.record("start", run.start_record(&words, &server)) {
        return fail(log, &error);
    }
    let code = match Box::pin(run.run()).await {
        Ok(()) => 0,
        // A crashed process tidies nothing: no last line, no end in the ledger.
        Err(error) if error.is::<Crash>() => return 2,
        Err(error) => fail(log, &error),
    };
    match run.ledger.record("end", json!({"exitCode": code})) {
        Ok(()) => code,
        Err(error) => fail(log, &error),
    }
}

fn fail(log: &Log, error: &anyhow::Error) -> u8 {
    log.error(format!("❌ Operation failed: {error:#}."));
    1
}

/// The API server that Helm will talk to, for the ledger.
fn server_of(deploy: &Deploy) -> String {
    let path = deploy.kubeconfig.as_deref().unwrap_or_default();
    let servers = kube::config::Kubeconfig::read_from(path).map(|kubeconfig| {
        let clusters = kubeconfig.clusters.into_iter().filter_map(|entry| entry.cluster);
        clusters
            .filter_map(|cluster| cluster.server)
            .collect::<Vec<_>>()
            .join(",")
    });
    servers.unwrap_or_default()
}

#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
mod tests;
