//! Kubeconfigs of Seeds, from the bytes in the Secret to the client. The first byte says what the rest is: `0` the whole
//! file, `1` more lines of a usable file, `2` more lines of its user, beside a token.

use kkp_upgrade_operator::kubeconfig::{config, read};
use kube::Client;
use serde_json::Value;

use crate::{CANARY, Violation, holds, quotes_nothing};

/// What would act in the operator's Pod, by the section that it stands in.
const REFUSED: [(&str, &str, &[&str]); 2] = [
    (
        "users",
        "user",
        &["exec", "auth-provider", "tokenFile", "client-certificate", "client-key"],
    ),
    ("clusters", "cluster", &["certificate-authority"]),
];

pub(crate) fn run(input: &[u8]) -> Result<(), Violation> {
    let Some((mode, rest)) = input.split_first() else {
        return judge(input);
    };
    let usable = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\ncontexts:\n- name: x\n  context: {{cluster: c, user: u}}\nclusters:\n\
         - name: c\n  cluster: {{server: \"https://seed.example.test:6443\"}}\nusers:\n- name: u\n  user:\n    token: {CANARY}\n"
    );
    match mode % 3 {
        0 => judge(rest),
        1 => judge(&[usable.as_bytes(), rest].concat()),
        _ => judge(&[usable.as_bytes(), b"    password: ", CANARY.as_bytes(), b"\n    ", rest].concat()),
    }
}

fn judge(kubeconfig: &[u8]) -> Result<(), Violation> {
    // Without a provider no client could be made; there may be one already.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let harness = |error: std::io::Error| Violation::Oracle(format!("the harness has no runtime: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(harness)?;
    let names_harmless = !names(kubeconfig);
    match runtime.block_on(config(kubeconfig, "kubeconfig")) {
        Err(said) if names_harmless => quotes_nothing(&said)?,
        Err(_) => {}
        Ok(config) => {
            let _guard = runtime.enter();
            drop(Client::try_from(config));
        }
    }
    let Ok(accepted) = read(kubeconfig, "kubeconfig") else {
        return Ok(());
    };
    let accepted = serde_json::to_value(&accepted).map_err(|error| Violation::Oracle(error.to_string()))?;
    for (section, inner, fields) in REFUSED {
        let entries = accepted.get(section).and_then(Value::as_array).into_iter().flatten();
        for entry in entries.filter_map(|entry| entry.get(inner)) {
            for field in fields {
                let value = entry.get(*field).unwrap_or(&Value::Null);
                holds(value.is_null(), || format!("{section} with {field} was accepted"))?;
            }
        }
    }
    Ok(())
}

/// Whether the input gave the secret as a name, which errors may repeat.
fn names(kubeconfig: &[u8]) -> bool {
    String::from_utf8_lossy(kubeconfig)
        .split("name")
        .skip(1)
        .any(|after| after.trim_start_matches(['"', '\'', ':', ' ']).starts_with(CANARY))
}
