//! The monitor's program: judges audit logs and a ledger, or watches a live platform. Reads only.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use jiff::{SignedDuration, Timestamp};
use kkp_upgrade_monitor::live::{self, News};
use kkp_upgrade_monitor::{Expectations, History, Monitor, Sources, Violation, judge};
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::time::{Instant, timeout_at};

/// How often the bounds are looked at while nothing happens.
const TICK: Duration = Duration::from_secs(5);
/// Longest that a connection may take, and that an answer may be silent.
const CONNECT: Duration = Duration::from_secs(10);
const READ: Duration = Duration::from_secs(90);

type Failure = Box<dyn std::error::Error>;

/// Watches an upgrade of KKP and names every promise of the operator that is broken.
///
/// Reads only: get, list and watch, of Secrets nothing but metadata. Exit codes: 0 nothing was broken, 1 something was,
/// 2 something could not be read, so that nobody can say.
#[derive(Parser)]
#[command(name = "kkp-upgrade-monitor", version)]
struct Arguments {
    /// Kubeconfig of the master; default: $KUBECONFIG, ~/.kube/config, or the Pod's own account
    #[arg(long, value_name = "FILE", conflicts_with = "audit_log")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, conflicts_with = "audit_log")]
    context: Option<String>,
    /// Namespace of KKP and of the operator
    #[arg(long, default_value = "kubermatic")]
    namespace: String,
    /// Judge what stands there now, and end
    #[arg(long, conflicts_with_all = ["audit_log", "for_duration"])]
    once: bool,
    /// Watch for so long, for example 10m; default: until Ctrl-C
    #[arg(long = "for", value_name = "DURATION", conflicts_with = "audit_log")]
    for_duration: Option<SignedDuration>,
    /// Longest silence of a run that works
    #[arg(long, value_name = "DURATION", default_value = "30m")]
    silence: SignedDuration,
    /// Judge the audit log of an API server instead, as CLUSTER=FILE, where CLUSTER is `master` or the name of a seed; may be given several times
    #[arg(long, value_name = "CLUSTER=FILE", value_parser = audit_log)]
    audit_log: Vec<(String, PathBuf)>,
    /// Ledger of the installers, with --audit-log (test bed only)
    #[arg(long, value_name = "FILE", requires = "audit_log")]
    ledger: Option<PathBuf>,
}

fn audit_log(text: &str) -> Result<(String, PathBuf), String> {
    let (cluster, file) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` is not CLUSTER=FILE, for example master=audit.log"))?;
    Ok((cluster.to_owned(), PathBuf::from(file)))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let judged = if arguments.audit_log.is_empty() {
        // Whoever has installed a provider already is fine.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Failure::from)
            .and_then(|runtime| runtime.block_on(Box::pin(online(&arguments))))
    } else {
        offline(&arguments)
    };
    match judged {
        Ok(verdict) => verdict.code(),
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "error: {error}");
            ExitCode::from(2)
        }
    }
}

/// What came out.
#[derive(Default)]
struct Verdict {
    violations: usize,
    unreadable: usize,
}

impl Verdict {
    fn code(&self) -> ExitCode {
        match (self.violations, self.unreadable) {
            (0, 0) => ExitCode::SUCCESS,
            (0, _) => ExitCode::from(2),
            _ => ExitCode::from(1),
        }
    }

    fn tell(&mut self, violations: &[Violation]) -> std::io::Result<()> {
        self.violations += violations.len();
        let mut out = std::io::stdout().lock();
        violations.iter().try_for_each(|violation| writeln!(out, "{violation}"))
    }

    fn tell_unreadable(&mut self, what: &str, why: &str) -> std::io::Result<()> {
        self.unreadable += 1;
        writeln!(std::io::stderr().lock(), "not judged: {what} cannot be read: {why}")
    }
}

/// Judges files.
fn offline(arguments: &Arguments) -> Result<Verdict, Failure> {
    let logs = arguments.audit_log.iter();
    let logs = logs.map(|(cluster, file)| (cluster.as_str(), file.as_path()));
    let history = History::read(logs, arguments.ledger.as_deref().map(Path::new))?;
    let sources = Sources {
        writers: true,
        ledger: arguments.ledger.is_some(),
    };
    let mut verdict = Verdict::default();
    verdict.tell(&judge(&history, &expectations(arguments, sources)))?;
    writeln!(
        std::io::stdout().lock(),
        "{} events, {} torn lines, {} violations",
        history.events.len(),
        history.torn_lines,
        verdict.violations
    )?;
    Ok(verdict)
}

fn expectations(arguments: &Arguments, sources: Sources) -> Expectations {
    Expectations {
        namespace: arguments.namespace.clone(),
        silence: arguments.silence,
        sources,
        ..Expectations::default()
    }
}

async fn client(arguments: &Arguments) -> Result<Client, Failure> {
    let options = KubeConfigOptions {
        context: arguments.context.clone(),
        ..KubeConfigOptions::default()
    };
    let mut config = match &arguments.kubeconfig {
        Some(path) => kube::Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await?,
        None if arguments.context.is_some() => kube::Config::from_kubeconfig(&options).await?,
        None => kube::Config::infer().await?,
    };
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(READ);
    Ok(Client::try_from(config)?)
}

/// Judges a live platform.
async fn online(arguments: &Arguments) -> Result<Verdict, Failure> {
    let client = client(arguments).await?;
    let sources = Sources {
        writers: false,
        ledger: false,
    };
    let mut monitor = Monitor::new(expectations(arguments, sources));
    let mut verdict = Verdict::default();
    if arguments.once {
        for news in live::list(&client, &arguments.namespace).await {
            take_in(&mut monitor, &mut verdict, news)?;
        }
        verdict.tell(&monitor.end(Timestamp::now()))?;
        return Ok(verdict);
    }
    let end = arguments
        .for_duration
        .and_then(|duration| Duration::try_from(duration).ok())
        .map(|duration| Instant::now() + duration);
    let mut news = live::watch(&client, &arguments.namespace);
    let mut stop = Box::pin(tokio::signal::ctrl_c());
    let mut overdue = BTreeSet::new();
    while end.is_none_or(|end| Instant::now() < end) {
        let tick = Instant::now() + TICK;
        let next = end.map_or(tick, |end| end.min(tick));
        tokio::select! {
            _ = &mut stop => break,
            told = timeout_at(next, news.recv()) => match told {
                Ok(Some(told)) => take_in(&mut monitor, &mut verdict, told)?,
                Ok(None) => break,
                Err(_) => bounds(&mut monitor, &mut verdict, &mut overdue)?,
            },
        }
    }
    bounds(&mut monitor, &mut verdict, &mut overdue)?;
    Ok(verdict)
}

/// What is overdue, each thing once.
fn bounds(
    monitor: &mut Monitor,
    verdict: &mut Verdict,
    told: &mut BTreeSet<(&'static str, String)>,
) -> std::io::Result<()> {
    let mut violations = monitor.end(Timestamp::now());
    violations.retain(|violation| told.insert((violation.property, violation.object.clone())));
    verdict.tell(&violations)
}

fn take_in(monitor: &mut Monitor, verdict: &mut Verdict, news: News) -> std::io::Result<()> {
    match news {
        News::Event(event) => verdict.tell(&monitor.see(&event)),
        News::Unreadable { what, why } => verdict.tell_unreadable(&what, &why),
    }
}
