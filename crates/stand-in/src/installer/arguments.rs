//! The command line of `kubermatic-installer` (KKP source, `cmd/kubermatic-installer`).
//!
//! Parses, fills in what the environment gives, and words the errors like the real program. Never talks to a cluster.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand};

/// Environment variables of a run, as a value so that tests need not change those of the process.
pub type Environment = BTreeMap<String, String>;

/// `kubermatic-installer …`.
#[derive(Debug, Parser)]
#[command(
    name = "kubermatic-installer",
    disable_version_flag = true,
    disable_help_subcommand = true
)]
pub struct Arguments {
    /// Enable more verbose output.
    #[arg(short, long, global = true, num_args = 0..=1, default_missing_value = "true", default_value_t = false,
          require_equals = true, action = clap::ArgAction::Set)]
    pub verbose: bool,
    /// Write logs in a specific output format. Supported options are: `json`, `console`.
    #[arg(short, long, global = true, default_value = "console")]
    pub output: String,
    /// Filesystem path to the Kubermatic Helm charts; `KUBERMATIC_CHARTS_DIRECTORY` wins.
    #[arg(long, global = true, default_value = "charts")]
    pub charts_directory: String,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Sub-commands that the stand-in knows.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Install or upgrade the current installation to the installer's built-in version.
    Deploy(Box<Deploy>),
    /// Print the installer's version.
    Version {
        /// Omit git and chart information.
        #[arg(short, long)]
        short: bool,
    },
    /// Print a fully defaulted configuration object.
    Print {
        /// `kubermaticconfiguration` or `seed`.
        #[arg(default_value = "kubermaticconfiguration")]
        kind: String,
    },
}

/// Which set of charts a run deploys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stack {
    /// `kubermatic-master`, also without an argument.
    Master,
    /// `kubermatic-seed`: object store and exporter of a seed.
    Seed,
    /// `seed-mla`: monitoring and logging of master and seeds.
    SeedMla,
    /// `usercluster-mla`: monitoring and logging of user clusters.
    UserClusterMla,
}

impl Stack {
    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Master => "kubermatic-master",
            Self::Seed => "kubermatic-seed",
            Self::SeedMla => "seed-mla",
            Self::UserClusterMla => "usercluster-mla",
        }
    }

    /// The name in the log lines.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Master => "KKP master stack",
            Self::Seed => "KKP seed stack",
            Self::SeedMla => "KKP seed MLA stack",
            Self::UserClusterMla => "KKP user cluster MLA stack",
        }
    }
}

/// A boolean flag as Go programs know it: `--flag`, `--flag=true`, `--flag=false`.
macro_rules! go_bools {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $field:ident),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, Args)]
        pub struct $name {
            $($(#[$doc])*
            #[arg(long, num_args = 0..=1, default_missing_value = "true", default_value_t = false,
                  require_equals = true, action = clap::ArgAction::Set)]
            pub $field: bool),+
        }
    };
}

go_bools! {
    /// Switches of `deploy`.
    Switches {
        /// Do not run `helm dependency build`.
        skip_dependencies,
        /// Upgrade charts even when they are up to date.
        force,
        /// Do not deploy the telemetry chart.
        disable_telemetry,
        /// Let an edition replace the other one.
        allow_edition_change,
        /// Only for very old releases of cert-manager.
        migrate_cert_manager,
        /// Only for very old releases of cert-manager.
        migrate_upstream_cert_manager,
        /// Only for very old releases of nginx.
        migrate_upstream_nginx_ingress,
        /// Leave `MinIO` of the user cluster MLA stack alone.
        mla_skip_minio,
        /// Leave the life cycle manager of the user cluster MLA stack alone.
        mla_skip_minio_lifecycle_mgr,
        /// Replace the secrets of the user cluster MLA stack.
        mla_force_secrets,
        /// Deploy the identity-aware proxy with the seed MLA stack.
        mla_include_iap,
        /// Leave the logging charts of the MLA stacks alone.
        mla_skip_logging,
        /// Enterprise Edition: default application catalogue.
        deploy_default_app_catalog,
        /// Enterprise Edition: default policy templates.
        deploy_default_policy_template_catalog,
        /// 2.29 and 2.30: Gateway API instead of Ingress.
        migrate_gateway_api,
        /// Keep the Ingress objects that the Gateway replaces.
        skip_ingress_cleanup,
        /// 2.30: the seed is another cluster than the master.
        separate_seed,
        /// 2.31: remove the nginx release and its namespace.
        clean_nginx_lb,
    }
}

/// `kubermatic-installer deploy [stack]`.
#[derive(Debug, Clone, Args)]
pub struct Deploy {
    /// Stack to deploy.
    #[arg(default_value = "kubermatic-master")]
    pub stack: String,
    /// Path of the `KubermaticConfiguration` file.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Kubeconfig of the target cluster; given to Helm only.
    #[arg(long)]
    pub kubeconfig: Option<String>,
    /// Context of the kubeconfig.
    #[arg(long)]
    pub kube_context: Option<String>,
    /// Helm values files; more than one from 2.31 on.
    #[arg(long)]
    pub helm_values: Vec<PathBuf>,
    /// How long Helm may take for one chart.
    #[arg(long, default_value = "5m", value_parser = go_duration)]
    pub helm_timeout: Duration,
    /// The Helm program.
    #[arg(long)]
    pub helm_binary: Option<String>,
    /// Seeds that the checks leave out.
    #[arg(long, value_delimiter = ',')]
    pub skip_seed_validation: Vec<String>,
    /// Provider of the `StorageClass` to create when it is missing.
    #[arg(long)]
    pub storageclass: Option<String>,
    /// Charts that stay as they are.
    #[arg(long, value_delimiter = ',')]
    pub skip_charts: Vec<String>,
    /// Switches.
    #[command(flatten)]
    pub switches: Switches,
}

impl Deploy {
    /// The stack that was asked for.
    ///
    /// # Errors
    /// The real program's message when there is no such stack.
    pub fn stack(&self) -> Result<Stack, String> {
        [Stack::Master, Stack::Seed, Stack::SeedMla, Stack::UserClusterMla]
            .into_iter()
            .find(|stack| stack.name() == self.stack)
            .ok_or_else(|| format!("unknown stack \"{}\" specified", self.stack))
    }

    /// Whether the run leaves this chart alone.
    #[must_use]
    pub fn skips(&self, chart: &str) -> bool {
        self.skip_charts.iter().any(|skipped| skipped == chart)
    }

    fn fill_from(&mut self, environment: &Environment) {
        let get = |name: &str| environment.get(name).filter(|value| !value.is_empty()).cloned();
        self.config = self.config.take().or_else(|| get("CONFIG_YAML").map(PathBuf::from));
        self.kubeconfig = self.kubeconfig.take().or_else(|| get("KUBECONFIG"));
        self.kube_context = self.kube_context.take().or_else(|| get("KUBE_CONTEXT"));
        self.helm_binary = self.helm_binary.take().or_else(|| get("HELM_BINARY"));
        if self.helm_values.is_empty() {
            self.helm_values.extend(get("HELM_VALUES").map(PathBuf::from));
        }
    }
}

/// Why a command line was not accepted.
#[derive(Debug)]
pub enum Refusal {
    /// Help was asked for: text for standard output, exit code 0.
    Help(String),
    /// Wrong usage: text for standard error, exit code 1.
    Usage(String),
}

/// Parses the arguments after the program's name.
///
/// # Errors
/// [`Refusal`] for help and for everything that the real program refuses.
pub fn parse(args: Vec<OsString>, environment: &Environment) -> Result<Arguments, Refusal> {
    let all = std::iter::once(OsString::from("kubermatic-installer")).chain(args);
    let mut arguments = Arguments::try_parse_from(all).map_err(|error| refusal(&error))?;
    if let Some(directory) = environment.get("KUBERMATIC_CHARTS_DIRECTORY") {
        arguments.charts_directory.clone_from(directory);
    }
    if !matches!(arguments.output.as_str(), "json" | "console") {
        return Err(Refusal::Usage(format!(
            "output format \"{}\" is not supported, use one of: json, console",
            arguments.output
        )));
    }
    if let Command::Deploy(deploy) = &mut arguments.command {
        deploy.fill_from(environment);
        if deploy.helm_timeout < Duration::from_secs(10) {
            return Err(Refusal::Usage("--helm-timeout must be at least 10s".to_owned()));
        }
    }
    Ok(arguments)
}

fn refusal(error: &clap::Error) -> Refusal {
    let invalid = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Refusal::Help(error.to_string())
        }
        ErrorKind::UnknownArgument if invalid.starts_with('-') => Refusal::Usage(format!("unknown flag: {invalid}")),
        ErrorKind::InvalidSubcommand => {
            let name = match error.get(ContextKind::InvalidSubcommand) {
                Some(ContextValue::String(text)) => text.clone(),
                _ => String::new(),
            };
            Refusal::Usage(format!("unknown command \"{name}\" for \"kubermatic-installer\""))
        }
        _ => Refusal::Usage(error.to_string()),
    }
}

/// Reads a duration as Go writes it: `10m`, `1m30s`, `500ms`.
fn go_duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("time: invalid duration \"{text}\"");
    let mut total = Duration::ZERO;
    let mut rest = text;
    if rest.is_empty() {
        return Err(invalid());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(invalid)?;
        let (number, tail) = rest.split_at(digits);
        let amount: u64 = number.parse().map_err(|_| invalid())?;
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        total += match unit {
            "h" => Duration::from_secs(amount.saturating_mul(3600)),
            "m" => Duration::from_secs(amount.saturating_mul(60)),
            "s" => Duration::from_secs(amount),
            "ms" => Duration::from_millis(amount),
            _ => return Err(invalid()),
        };
        rest = tail;
    }
    Ok(total)
}

#[cfg(test)]
#[path = "arguments_tests.rs"]
mod tests;
