use super::*;

fn parsed(args: &[&str], environment: &[(&str, &str)]) -> Result<Arguments, Refusal> {
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    parse(args.iter().map(OsString::from).collect(), &environment)
}

fn deploy(args: &[&str], environment: &[(&str, &str)]) -> Deploy {
    match parsed(args, environment).unwrap().command {
        Command::Deploy(deploy) => *deploy,
        other => panic!("not a deployment: {other:?}"),
    }
}

fn usage(args: &[&str]) -> String {
    match parsed(args, &[]).unwrap_err() {
        Refusal::Usage(text) => text,
        Refusal::Help(text) => panic!("help: {text}"),
    }
}

#[test]
fn a_whole_command_line_is_understood() {
    let deploy = deploy(
        &[
            "deploy",
            "kubermatic-seed",
            "-o",
            "json",
            "--helm-values=/values/values.yaml",
            "--skip-dependencies",
            "--disable-telemetry=false",
            "--skip-charts",
            "cert-manager,dex",
            "--skip-charts=telemetry",
            "--helm-timeout",
            "1m30s",
        ],
        &[],
    );
    assert_eq!(deploy.stack(), Ok(Stack::Seed));
    assert!(deploy.switches.skip_dependencies && !deploy.switches.disable_telemetry);
    assert!(deploy.skips("dex") && deploy.skips("telemetry") && !deploy.skips("minio"));
    assert_eq!(deploy.helm_timeout, Duration::from_secs(90));
}

#[test]
fn the_master_stack_is_the_default() {
    let deploy = deploy(&["deploy"], &[]);
    assert_eq!(deploy.stack(), Ok(Stack::Master));
    assert_eq!(deploy.helm_timeout, Duration::from_mins(5));
}

#[test]
fn the_environment_fills_flags_and_flags_win() {
    let environment = [
        ("KUBECONFIG", "/env"),
        ("HELM_VALUES", "/values"),
        ("KUBERMATIC_CHARTS_DIRECTORY", "/opt/charts/"),
    ];
    let from_environment = deploy(&["deploy"], &environment);
    assert_eq!(from_environment.kubeconfig.as_deref(), Some("/env"));
    assert_eq!(from_environment.helm_values, [PathBuf::from("/values")]);
    let from_flag = deploy(&["deploy", "--kubeconfig", "/flag"], &environment);
    assert_eq!(from_flag.kubeconfig.as_deref(), Some("/flag"));
    let charts = parsed(&["version", "--charts-directory", "/mine"], &environment).unwrap();
    assert_eq!(charts.charts_directory, "/opt/charts/", "the variable wins");
}

#[test]
fn what_the_real_program_does_not_know_is_refused() {
    assert_eq!(usage(&["deploy", "--dry-run"]), "unknown flag: --dry-run");
    assert_eq!(
        usage(&["rollback"]),
        "unknown command \"rollback\" for \"kubermatic-installer\""
    );
    assert!(usage(&["deploy", "-o", "xml"]).contains("xml"));
    assert!(usage(&["deploy", "--helm-timeout", "5s"]).contains("at least 10s"));
    assert!(usage(&["deploy", "--helm-timeout", "soon"]).contains("invalid duration"));
    assert_eq!(
        deploy(&["deploy", "everything"], &[]).stack(),
        Err("unknown stack \"everything\" specified".to_owned())
    );
}
