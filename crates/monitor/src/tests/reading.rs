//! Audit log and ledger: what is read from them, and in which order.

use std::io::Write as _;

use serde_json::{Value, json};

use crate::{History, Identity, Verb, What, names, parse_line};

fn line(verb: &str, user: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut line = json!({
        "kind": "Event", "stage": "ResponseComplete", "stageTimestamp": "2026-11-21T06:00:00.5Z", "verb": verb,
        "requestURI": "/api/v1/namespaces/n/configmaps/c?fieldManager=x", "user": {"username": user},
        "objectRef": {"resource": "configmaps", "namespace": "n", "name": "c", "apiVersion": "v1"},
        "responseStatus": {"code": 200},
        "responseObject": {"metadata": {"name": "c", "resourceVersion": "7"}},
    });
    change(&mut line);
    line.to_string()
}

fn read(line: &str) -> Option<What> {
    parse_line("master", line).unwrap().map(|event| event.what)
}

#[test]
fn only_what_was_written_counts() {
    assert_eq!(read(&line("get", "a", |_| ())), None);
    assert_eq!(
        read(&line("update", "a", |line| line["responseStatus"]["code"] = json!(409))),
        None
    );
    assert!(matches!(
        read(&line("update", "a", |line| line["responseStatus"]["code"] = json!(504))),
        Some(What::Lost(_))
    ));
    assert!(matches!(
        read(&line("update", "a", |line| line["responseObject"] = Value::Null)),
        Some(What::Lost(_))
    ));
    assert!(matches!(
        read(&line("create", "a", |line| line["objectRef"]["subresource"] =
            json!("eviction"))),
        Some(What::Lost(_))
    ));
    let dry = |line: &mut Value| {
        line["requestURI"] = json!("/x?&dryRun=All&fieldManager=kkp-upgrade-operator");
        line["requestObject"] = json!({});
    };
    assert!(matches!(read(&line("patch", "a", dry)), Some(What::Seen(..))));
    assert!(parse_line("master", "no JSON").is_err());
}

#[test]
fn writers_are_told_apart() {
    let account = |name: &str| format!("system:serviceaccount:kubermatic:{name}");
    let who = |line: &str| match read(line) {
        Some(What::Write(write)) => write.actor.identity,
        _ => Identity::Unknown,
    };
    let of = |user: &str| who(&line("update", user, |_| ()));
    assert_eq!(of(&account("kkp-upgrade-operator")), Identity::Operator);
    assert_eq!(of(&account("kkp-upgrade-installer")), Identity::Installer);
    assert_eq!(of(&account("kkp-upgrade-backup")), Identity::Backup);
    assert_eq!(of(&account("kubermatic-operator")), Identity::Other);
    assert_eq!(of("system:apiserver"), Identity::Kubernetes);
    assert_eq!(of("admin"), Identity::Other);
    // With a Seed's kubeconfig only the field manager tells.
    let managed = |line: &mut Value| line["requestURI"] = json!("/x?fieldManager=kkp-upgrade-operator");
    assert_eq!(who(&line("update", "admin", managed)), Identity::Operator);
    let restored = |line: &mut Value| line["requestURI"] = json!("/x?fieldManager=kkp-upgrade-restore");
    assert_eq!(who(&line("update", "admin", restored)), Identity::Restore);
    assert_eq!(of(&account("kkp-upgrade-restore")), Identity::Restore);
    let collects =
        |line: &mut Value| line["userAgent"] = json!("kube-controller-manager/v1.36.2/generic-garbage-collector");
    match read(&line("delete", "system:kube-controller-manager", collects)) {
        Some(What::Write(write)) => assert_eq!(write.actor.name, names::GARBAGE_COLLECTOR),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_object_is_gone_when_nothing_holds_it() {
    let gone = |verb: &str, answer: Value| match read(&line(verb, "a", |line| line["responseObject"] = answer)) {
        Some(What::Write(write)) => (write.gone, write.verb),
        other => panic!("{other:?}"),
    };
    let held = json!({"metadata": {"deletionTimestamp": "2026-11-21T06:00:00Z", "finalizers": ["f"]}});
    let last = json!({"metadata": {"deletionTimestamp": "2026-11-21T06:00:00Z"}});
    let graceful = json!({"metadata": {"deletionTimestamp": "2026-11-21T06:00:00Z", "deletionGracePeriodSeconds": 30}});
    assert_eq!(gone("delete", json!({"kind": "Status"})), (true, Verb::Delete));
    assert_eq!(gone("delete", held.clone()), (false, Verb::Delete));
    assert_eq!(gone("delete", graceful), (false, Verb::Delete));
    assert_eq!(gone("update", held), (false, Verb::Update));
    assert_eq!(gone("update", last), (true, Verb::Update));
}

#[test]
fn writes_of_one_object_come_by_version_and_a_torn_line_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let at = |second: u32, version: &str| {
        line("update", "a", |line| {
            line["stageTimestamp"] = json!(format!("2026-11-21T06:00:0{second}Z"));
            line["responseObject"]["metadata"]["resourceVersion"] = json!(version);
        })
    };
    let mut file = std::fs::File::create(&path).unwrap();
    write!(
        file,
        "{}\n{}\n{}\n{{\"kind\": \"Ev",
        at(1, "9"),
        at(2, "8"),
        at(3, "10")
    )
    .unwrap();
    let history = History::read([("master", path.as_path())], None).unwrap();
    let versions: Vec<String> = history
        .events
        .iter()
        .map(|event| match &event.what {
            What::Write(write) => write.after.as_ref().unwrap()["metadata"]["resourceVersion"].to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        (versions.join(","), history.torn_lines),
        ("\"8\",\"9\",\"10\"".to_owned(), 1)
    );
    assert!(history.events.is_sorted_by_key(|event| event.time));
    std::fs::write(&path, "not an audit log\n").unwrap();
    let error = History::read([("master", path.as_path())], None)
        .unwrap_err()
        .to_string();
    assert!(error.contains("holds no event"), "{error}");
}

#[test]
fn a_ledger_tells_starts_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.jsonl");
    let start = json!({"event": "start", "runId": "r", "time": "2026-11-21T06:00:00.1Z", "hostname": "p", "server": "s",
        "stack": "kubermatic-master", "version": "v2.31.0"});
    let end = json!({"event": "end", "runId": "r", "time": "2026-11-21T06:00:01Z", "exitCode": 0});
    std::fs::write(&path, format!("{start}\n{end}\n")).unwrap();
    let history = History::read([], Some(path.as_path())).unwrap();
    let [first, second] = history.events.as_slice() else {
        panic!("{history:?}")
    };
    assert!(matches!(&first.what, What::Installer(record) if record.version == "2.31.0" && record.pod == "p"));
    assert!(matches!(&second.what, What::Installer(record) if record.exit_code == Some(0)));
}
