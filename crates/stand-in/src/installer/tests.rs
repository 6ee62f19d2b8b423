//! Behaviour of the stand-in without a cluster.

use super::*;

pub(super) fn deploy_arguments(args: &[&str]) -> Deploy {
    let args = args.iter().map(OsString::from).collect();
    match arguments::parse(args, &Environment::new()).unwrap().command {
        Command::Deploy(deploy) => *deploy,
        other => panic!("not a deployment: {other:?}"),
    }
}

struct Outcome {
    code: u8,
    text: String,
    ledger: String,
}

fn without_cluster(args: &[&str]) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let buffer = Arc::new(Mutex::new(Vec::new()));
    let surroundings = Surroundings {
        environment: Environment::new(),
        release: Release::of("2.31.0", crate::release::Edition::Community).unwrap(),
        state_folder: folder.path().to_owned(),
        output: buffer.clone(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let code = runtime.block_on(run_in(args.iter().map(OsString::from).collect(), surroundings));
    let text = String::from_utf8(buffer.lock().unwrap().clone()).unwrap();
    let ledger = std::fs::read_to_string(folder.path().join("ledger.jsonl")).unwrap_or_default();
    Outcome { code, text, ledger }
}

#[test]
fn without_any_kubeconfig_the_real_message_and_exit_code_one() {
    let outcome = without_cluster(&["deploy", "-o", "json"]);
    assert_eq!(outcome.code, 1);
    let last = outcome.text.lines().last().unwrap();
    let last: serde_json::Value = serde_json::from_str(last).unwrap();
    assert_eq!(
        last["msg"],
        "❌ Operation failed: no kubeconfig (--kubeconfig or $KUBECONFIG) given."
    );
    assert_eq!(last["level"], "error");
    assert!(outcome.ledger.contains("\"event\":\"start\""), "{}", outcome.ledger);
    assert!(outcome.ledger.contains("\"exitCode\":1"), "{}", outcome.ledger);
}

#[test]
fn unknown_flags_end_with_one_and_leave_no_run() {
    let outcome = without_cluster(&["deploy", "--rollback"]);
    assert_eq!(
        (outcome.code, outcome.text.trim()),
        (1, "Error: unknown flag: --rollback")
    );
    assert!(outcome.ledger.is_empty());
}

#[test]
fn version_and_print_tell_what_is_compiled_in() {
    assert_eq!(without_cluster(&["version", "-s"]).text.trim(), "v2.31.0");
    let printed = without_cluster(&["print", "kubermaticconfiguration"]);
    let object: serde_json::Value = serde_saphyr::from_str(&printed.text).unwrap();
    let versions = object["spec"]["versions"]["versions"].as_array().unwrap();
    assert!(versions.iter().any(|version| version == "1.34.10"));
    assert_eq!(without_cluster(&["print", "moon"]).code, 1);
}
