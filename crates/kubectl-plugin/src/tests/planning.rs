//! `plan`, against an API in memory: what is told, how it ends, and that nothing is ever written.

use http::Method;
use jiff::Timestamp;
use kkp_upgrade_core::rules::Catalogue;
use serde_json::{Value, json};

use super::Outcome;
use super::fake_api::FakeApi;
use super::platform::{CANARY, KUBECONFIG, OPERATOR, UPGRADE, platform};
use crate::arguments::{Arguments, Command, PlanArguments};
use crate::console::Console;
use crate::exit::Exit;
use crate::plan::{Asked, Platform, Report, look, show};

fn arguments(words: &[&str]) -> PlanArguments {
    use clap::Parser as _;
    let words = ["kubectl-kkp_upgrade", "plan"].iter().chain(words);
    match Arguments::try_parse_from(words).unwrap().command {
        Command::Plan(arguments) => *arguments,
        other => panic!("{other:?}"),
    }
}

/// The plan as the command line asks for it. Whatever happens, nothing but GET reaches the API, and no secret is told.
async fn plan_of(api: &FakeApi, words: &[&str], input: &str) -> (Option<Report>, Outcome) {
    // Clients of seeds are made from kubeconfigs, with TLS.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let arguments = arguments(words);
    let (mut console, output, errors) = Console::capturing(input, 120);
    let now: Timestamp = "2026-11-21T00:00:00Z".parse().unwrap();
    let looked = async {
        let asked = Asked::read(&arguments, &mut console)?;
        let (client, seeds) = (api.client(), api.seeds());
        let platform = Platform {
            client: &client,
            seeds: &seeds,
            namespace: arguments.cluster.namespace.as_deref(),
        };
        let report = Box::pin(look(&platform, &asked, now)).await?;
        show(&report, &arguments, &mut console)?;
        Ok(report)
    };
    let looked: Result<Report, crate::failure::Failure> = Box::pin(looked).await;
    let exit = match &looked {
        Ok(report) => report.exit(arguments.detailed_exitcode, arguments.exit_on_wait),
        Err(failure) => {
            failure.tell(&mut console, false);
            failure.exit
        }
    };
    for (method, path) in api.requests() {
        assert_eq!(method, Method::GET, "{path}");
    }
    let outcome = Outcome::of(exit, &output, &errors);
    assert!(!outcome.transcript().contains(CANARY), "{}", outcome.transcript());
    (looked.ok(), outcome)
}

async fn document(api: &FakeApi, words: &[&str]) -> (Value, Exit) {
    let words = [words, &["-o", "json"]].concat();
    let (_, outcome) = plan_of(api, &words, "").await;
    (serde_json::from_str(&outcome.output).unwrap_or_default(), outcome.exit)
}

#[tokio::test]
async fn a_blocked_upgrade_as_people_and_programs_see_it() {
    let api = platform();
    let (_, table) = plan_of(&api, &["to-2-31"], "").await;
    assert_eq!(table.exit, Exit::Blocked);
    insta::assert_snapshot!("table", table.transcript());
    let (_, page) = plan_of(&api, &["to-2-31", "-o", "markdown"], "").await;
    // The catalogue's own digest is not what this test is about.
    let catalogue = &Catalogue::embedded().unwrap().identity().digest;
    insta::assert_snapshot!("markdown", page.transcript().replace(catalogue, "sha256:CATALOGUE"));
    let (json, exit) = document(&api, &["to-2-31"]).await;
    assert_eq!(exit, Exit::Blocked);
    let (_, yaml) = plan_of(&api, &["to-2-31", "-o", "yaml"], "").await;
    let same: Value = serde_saphyr::from_str(&yaml.output).unwrap();
    assert_eq!(same, json);
    let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
    insta::assert_snapshot!("keys", format!("{keys:?}"));
    assert!(!api.requests().is_empty());
}

#[tokio::test]
async fn a_digest_is_shown_where_it_can_be_approved_and_nowhere_else() {
    let api = platform();
    let (named, _) = document(&api, &["to-2-31"]).await;
    let digest = named["digest"].as_str().unwrap().to_owned();
    assert!(
        digest.starts_with("sha256:") && named["plan"]["upgrade"] == "11111111-aaaa",
        "{named}"
    );

    let (version, _) = document(&api, &["--target-version", "2.31.0"]).await;
    assert_eq!(version["digest"], Value::Null);
    assert!(
        version["digestMissing"]
            .as_str()
            .unwrap()
            .contains("belongs to no KKPUpgrade")
    );
    assert_eq!(version["plan"]["targets"], named["plan"]["targets"]);

    // Beside the operator's own plan: the same, or another one.
    let parts = serde_json::to_value(plan_of(&api, &["to-2-31"], "").await.0.unwrap().plan.unwrap().parts()).unwrap();
    api.edit(UPGRADE, |object| {
        object["status"] = json!({"observedGeneration": 1, "plan": {"digest": digest, "parts": parts, "findings": {}}});
    });
    let (same, _) = document(&api, &["to-2-31"]).await;
    assert_eq!(
        (&same["digest"], &same["operatorPlan"]["differsIn"]),
        (&json!(digest), &json!([]))
    );
    api.edit(UPGRADE, |object| {
        object["status"]["plan"]["digest"] = "sha256:other".into();
        let parts = object["status"]["plan"]["parts"].as_array_mut().unwrap();
        let findings = parts.iter_mut().find(|part| part["name"] == "findings");
        findings.unwrap()["digest"] = "other".into();
    });
    let (other, _) = document(&api, &["to-2-31"]).await;
    assert_eq!(other["digest"], Value::Null);
    assert_eq!(other["operatorPlan"]["differsIn"], json!(["findings"]));
}

#[tokio::test]
async fn missing_rights_are_named_and_leave_no_digest() {
    let api = platform();
    api.forbid("secrets", "*");
    let (report, outcome) = plan_of(&api, &["to-2-31"], "").await;
    let report = report.unwrap();
    assert!(
        report
            .not_permitted
            .contains(&"get secrets in namespace kubermatic".to_owned()),
        "{:?}",
        report.not_permitted
    );
    assert_eq!(report.digest, None);
    let seed = report
        .findings
        .iter()
        .find(|finding| finding.rule == "seed-unreachable")
        .unwrap();
    assert!(seed.unknown, "{seed:?}");
    assert_eq!(
        seed.message,
        "cannot be decided: not permitted (get secrets in namespace kubermatic)"
    );
    assert!(outcome.output.contains("= Not seen ="), "{}", outcome.output);
}

#[tokio::test]
async fn without_a_look_at_the_platform_there_is_no_verdict() {
    for (resource, right) in [
        ("seeds", "list seeds.kubermatic.k8c.io in namespace kubermatic"),
        ("namespaces", "get namespaces"),
        ("kkpupgrades", "get kkpupgrades.upgrade.k8c.io in namespace kubermatic"),
    ] {
        let api = platform();
        api.forbid(resource, "*");
        let (_, outcome) = plan_of(&api, &["to-2-31"], "").await;
        assert_eq!(
            (outcome.exit, outcome.output.as_str()),
            (Exit::NotFound, ""),
            "{resource}"
        );
        assert!(
            outcome.errors.contains(&format!("not permitted ({right})")),
            "{}",
            outcome.errors
        );
    }
}

#[tokio::test]
async fn the_namespace_is_found_by_the_configuration() {
    let api = platform();
    let configuration = "/apis/kubermatic.k8c.io/v1/namespaces/kubermatic/kubermaticconfigurations/kubermatic";
    let (report, _) = plan_of(&api, &["to-2-31"], "").await;
    assert_eq!(report.unwrap().namespace, "kubermatic");
    let (_, elsewhere) = plan_of(&api, &["to-2-31", "-n", "default"], "").await;
    assert_eq!(elsewhere.exit, Exit::NotFound);
    assert!(
        elsewhere
            .errors
            .contains("no KubermaticConfiguration in namespace default"),
        "{}",
        elsewhere.errors
    );
    // Who may not look everywhere looks where KKP normally is.
    api.forbid("kubermaticconfigurations", "nowhere");
    api.put(
        &configuration.replace("/namespaces/kubermatic/", "/namespaces/second/"),
        json!({}),
    );
    let (_, several) = plan_of(&api, &["to-2-31"], "").await;
    assert_eq!(several.exit, Exit::Usage);
    assert!(several.errors.contains("kubermatic, second"), "{}", several.errors);
    let (report, _) = plan_of(&api, &["to-2-31", "-n", "kubermatic"], "").await;
    assert!(report.is_some());
}

#[tokio::test]
async fn what_is_not_there_is_answered_with_what_is() {
    let api = platform();
    let (_, outcome) = plan_of(&api, &["to-2-32"], "").await;
    assert_eq!(outcome.exit, Exit::NotFound);
    assert!(outcome.errors.contains("there are: to-2-31"), "{}", outcome.errors);
    api.remove("/apis/kubermatic.k8c.io/v1/namespaces/kubermatic/kubermaticconfigurations/kubermatic");
    let (_, outcome) = plan_of(&api, &["to-2-31"], "").await;
    assert_eq!(outcome.exit, Exit::NotFound);
    assert!(outcome.errors.contains("is KKP installed here?"), "{}", outcome.errors);
}

#[tokio::test]
async fn a_file_is_planned_as_it_would_be_applied() {
    let api = platform();
    let file = |spec: &str| {
        format!(
            "apiVersion: upgrade.k8c.io/v1alpha1\nkind: KKPUpgrade\nmetadata: {{name: x, uid: stolen}}\nspec: {spec}\n"
        )
    };
    let (report, _) = plan_of(
        &api,
        &["-f", "-"],
        &file("{targetVersion: 2.31.0, maximumParallelReconciles: 7}"),
    )
    .await;
    let report = report.unwrap();
    let plan = report.plan.unwrap();
    assert_eq!((plan.upgrade.as_str(), plan.maximum_parallel_reconciles), ("", Some(7)));
    assert_eq!((report.digest, report.namespace.as_str()), (None, "kubermatic"));
    let (_, invalid) = plan_of(&api, &["-f", "-"], &file("{targetVersion: 2.31}")).await;
    assert_eq!(invalid.exit, Exit::Blocked);
    assert!(
        invalid.errors.contains("spec.targetVersion") && invalid.errors.contains("lint -f"),
        "{}",
        invalid.errors
    );
    let two = format!("{0}---\n{0}", file("{targetVersion: 2.31.0}"));
    assert_eq!(plan_of(&api, &["-f", "-"], &two).await.1.exit, Exit::Usage);
    let (_, elsewhere) = plan_of(
        &api,
        &["-f", "-"],
        &file("{targetVersion: 2.31.0}").replace("name: x", "name: x, namespace: a"),
    )
    .await;
    assert_eq!(elsewhere.exit, Exit::Blocked);
    assert!(elsewhere.output.contains("REFUSED"), "{}", elsewhere.output);
}

#[tokio::test]
async fn older_versions_are_refused_and_runs_under_way_are_left_alone() {
    let api = platform();
    let (older, exit) = document(&api, &["--target-version", "2.30.5"]).await;
    assert_eq!(
        (&older["verdict"]["reason"], exit),
        (&json!("DowngradeNotSupported"), Exit::Blocked)
    );
    let (_, wrong) = plan_of(&api, &["--target-version", "latest"], "").await;
    assert_eq!(wrong.exit, Exit::Usage);
    api.edit(UPGRADE, |object| {
        object["status"] = json!({"observedGeneration": 1, "phase": "Deploying", "locked": true,
            "step": {"name": "Seeds"}, "path": ["2.30.6", "2.31.0"]});
    });
    let (running, exit) = document(&api, &["to-2-31", "--detailed-exitcode"]).await;
    assert_eq!((&running["verdict"]["state"], exit), (&json!("UnderWay"), Exit::Done));
    assert!(
        running["verdict"]["message"]
            .as_str()
            .unwrap()
            .contains("Deploying, step Seeds"),
        "{running}"
    );
}

#[tokio::test]
async fn the_operators_claim_counts_and_its_absence_is_told() {
    let api = platform();
    let missing = |document: &Value| {
        let findings = document["findings"].as_array().unwrap().clone();
        findings
            .iter()
            .any(|finding| finding["rule"] == "backup-storage-missing")
    };
    let (with, _) = document(&api, &["to-2-31"]).await;
    assert!(!missing(&with), "{with}");
    api.remove(OPERATOR);
    let (without, _) = document(&api, &["to-2-31"]).await;
    assert!(missing(&without), "{without}");
    assert!(
        without["notLookedAt"].to_string().contains("with which claim"),
        "{without}"
    );
}

#[tokio::test]
async fn a_seed_that_is_gone_is_a_blocker_and_no_missing_right() {
    let api = platform();
    api.remove(KUBECONFIG);
    let (document, exit) = document(&api, &["to-2-31"]).await;
    assert_eq!(exit, Exit::Blocked);
    assert_eq!(document["notPermitted"], json!([]));
}

#[tokio::test]
async fn exit_codes_follow_the_verdict() {
    use crate::plan::State;
    let (report, _) = plan_of(&platform(), &["to-2-31"], "").await;
    let with = |state, rights: &[&str]| {
        let mut report = report.clone().unwrap();
        report.verdict.state = state;
        report.not_permitted = rights.iter().map(|right| (*right).to_owned()).collect();
        report
    };
    for (state, plain, detailed, waiting) in [
        (State::Ready, Exit::Done, Exit::Differences, Exit::Done),
        (State::NothingToDo, Exit::Done, Exit::Done, Exit::Done),
        (State::Waiting, Exit::Done, Exit::Differences, Exit::Waits),
        (State::Blocked, Exit::Blocked, Exit::Blocked, Exit::Blocked),
        (State::Refused, Exit::Blocked, Exit::Blocked, Exit::Blocked),
        (State::UnderWay, Exit::Done, Exit::Done, Exit::Done),
        (State::Unclear, Exit::Unexpected, Exit::Unexpected, Exit::Unexpected),
    ] {
        let report = with(state, &[]);
        let ends = (
            report.exit(false, false),
            report.exit(true, false),
            report.exit(false, true),
        );
        assert_eq!(ends, (plain, detailed, waiting), "{state}");
    }
    assert_eq!(with(State::Unclear, &["list seeds"]).exit(false, false), Exit::NotFound);
}
