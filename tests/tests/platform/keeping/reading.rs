//! What the plugin reads of kept backups: `backup verify` and `backup download`, with the plugin's own code and its Jobs.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kkp_lab::platform::MASTER;
use kkp_upgrade_backup::{ARCHIVE_FILE, MOST_SENT, SUMS_ENTRY};
use kkp_upgrade_core::request::sha256;
use kkp_upgrade_kubectl_plugin::console::Console;
use kkp_upgrade_kubectl_plugin::execute;
use kkp_upgrade_kubectl_plugin::exit::Exit;
use kkp_upgrade_tests::bed::{Bed, NAMESPACE};
use kube::Api;
use kube::api::ListParams;
use serde_json::Value;

use super::{CLAIM, content};

/// `kubectl kkp-upgrade backup …`; how it ends, what it gives, and what it says.
async fn plugin(bed: &Bed, command: &[&str]) -> anyhow::Result<(Exit, String, String)> {
    let kubeconfig = bed.running.lab.cluster(MASTER)?.kubeconfig_path.clone();
    let kubeconfig = kubeconfig.to_str().context("the path of the kubeconfig is no text")?;
    let arguments = [
        &["kubectl-kkp_upgrade", "backup"],
        command,
        &["--kubeconfig", kubeconfig],
    ]
    .concat();
    let arguments = arguments.into_iter().map(Into::into).collect();
    let (mut console, output, errors) = Console::capturing("", 80);
    let exit = Box::pin(execute(arguments, &mut console)).await;
    Ok((exit, output.take(), errors.take()))
}

/// Changes a byte in the middle of a file; a second time puts it right.
fn flip(file: &Path) -> anyhow::Result<()> {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(file)?;
    let middle = file.metadata()?.len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle)?;
    Ok(file.write_all_at(&[byte[0] ^ 0xff], middle)?)
}

/// What is kept is whole, by Jobs that can write nothing; what is damaged is found.
pub(super) async fn verified(bed: &Bed, volume: &Path, run: &str) -> anyhow::Result<()> {
    for upgrade in ["needed", "u"] {
        let (exit, given, said) = plugin(bed, &["verify", upgrade, "-o", "json"]).await?;
        let verdicts: Vec<Value> = serde_json::from_str(&given).with_context(|| said.clone())?;
        let whole = |verdict: &Value| {
            verdict["result"] == "verified: every object opened and compared" && verdict["contentChecked"] == true
        };
        ensure!(
            exit == Exit::Done && verdicts.len() == 2 && verdicts.iter().all(whole),
            "{exit}: {given}{said}"
        );
    }
    let location = format!("{run}/{MASTER}");
    let by_location = ["verify", "--location", &location, "--claim", CLAIM];
    let (exit, given, said) = plugin(bed, &by_location).await?;
    ensure!(
        exit == Exit::Done && given.contains("verified: "),
        "{exit}: {given}{said}"
    );
    damaged(bed, volume, run).await?;
    let pods = Api::<Pod>::namespaced(bed.client.clone(), NAMESPACE);
    let checks = ListParams::default().labels("app.kubernetes.io/name=kkp-upgrade-check");
    let pods = pods.list(&checks).await?.items;
    ensure!(pods.len() == 7, "{} Pods", pods.len());
    pods.iter().try_for_each(harmless)
}

/// A byte of an archive is another one: said with its place by `verify`, and not brought by `download`.
async fn damaged(bed: &Bed, volume: &Path, run: &str) -> anyhow::Result<()> {
    let archive = volume.join(run).join(MASTER).join(ARCHIVE_FILE);
    flip(&archive)?;
    let (exit, given, said) = plugin(bed, &["verify", "u", "-o", "json"]).await?;
    let verdicts: Vec<Value> = serde_json::from_str(&given).with_context(|| said.clone())?;
    let bad: Vec<&Value> = verdicts.iter().filter(|verdict| verdict["good"] == false).collect();
    ensure!(exit == Exit::Blocked && bad.len() == 1, "{exit}: {given}{said}");
    let place = format!("{run}/{MASTER}");
    let named = |verdict: &&Value| {
        let result = verdict["result"].as_str().unwrap_or_default();
        verdict["location"] == place.as_str() && result.contains(&place) && result.contains(ARCHIVE_FILE)
    };
    ensure!(bad.iter().all(named), "{given}");
    let folder = tempfile::tempdir()?;
    let to = folder.path().to_str().context("a path is no text")?;
    let (exit, _, said) = plugin(bed, &["download", "u", "--target", MASTER, "--to", to]).await?;
    ensure!(
        exit == Exit::Blocked && said.contains(&place) && content(folder.path())?.is_empty(),
        "{exit}: {said}"
    );
    flip(&archive)
}

/// A Pod as it ran: without a token, and with nothing to write to but a temporary folder.
fn harmless(pod: &Pod) -> anyhow::Result<()> {
    let spec = pod.spec.as_ref().context("no spec")?;
    let volumes = spec.volumes.as_deref().unwrap_or_default();
    ensure!(
        spec.automount_service_account_token == Some(false) && volumes.iter().all(|volume| volume.projected.is_none()),
        "{spec:?}"
    );
    let mounts = spec
        .containers
        .iter()
        .flat_map(|container| container.volume_mounts.as_deref().unwrap_or_default());
    let writable: Vec<&str> = mounts
        .filter(|mount| mount.read_only != Some(true))
        .map(|mount| mount.mount_path.as_str())
        .collect();
    ensure!(writable == ["/tmp"], "{writable:?}");
    Ok(())
}

/// The files come as they lie there, open with the key of the Secret, and nothing is written over.
pub(super) async fn downloaded(bed: &Bed, volume: &Path, run: &str) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let to = folder.path().to_str().context("a path is no text")?;
    let (exit, _, said) = plugin(bed, &["download", "u", "--to", to]).await?;
    ensure!(exit == Exit::Done, "{exit}: {said}");
    let mut stored = content(volume)?;
    stored.retain(|path, _| path.starts_with(run));
    let came = content(folder.path())?;
    ensure!(came == stored && came.len() == 6, "{came:#?}\nstored {stored:#?}");
    let archive = folder.path().join(run).join(MASTER).join(ARCHIVE_FILE);
    let file = std::fs::metadata(&archive)?;
    ensure!(
        file.permissions().mode() & 0o777 == 0o600 && file.len() > MOST_SENT,
        "{file:?}"
    );
    ensure!(said.contains(&format!("{MOST_SENT} of {} bytes", file.len())), "{said}");
    let jobs = Api::<Job>::namespaced(bed.client.clone(), NAMESPACE);
    let downloads = ListParams::default().labels("app.kubernetes.io/name=kkp-upgrade-download");
    ensure!(jobs.list(&downloads).await?.items.is_empty(), "Jobs with pieces stay");
    opened(bed, &archive).await?;
    let (exit, _, said) = plugin(bed, &["download", "u", "--to", to]).await?;
    ensure!(
        exit == Exit::Usage && said.contains("nothing is ever written over"),
        "{exit}: {said}"
    );
    ensure!(content(folder.path())? == came, "something was written over");
    Ok(())
}

/// As the documentation opens it by hand: age with the key of the Secret, zstd, tar, and its list of digests.
async fn opened(bed: &Bed, archive: &Path) -> anyhow::Result<()> {
    let key = [
        "get",
        "secret",
        "kkp-upgrade-backup-key",
        "-n",
        NAMESPACE,
        "-o",
        "jsonpath={.data.identity}",
    ];
    let key = base64::engine::general_purpose::STANDARD.decode(bed.kubectl(&key).await?)?;
    let identities = age::IdentityFile::from_buffer(key.as_slice())?.into_identities()?;
    let decryptor = age::Decryptor::new(std::fs::File::open(archive)?)?;
    let plain = decryptor.decrypt(identities.iter().map(|identity| &**identity as &dyn age::Identity))?;
    let mut entries = BTreeMap::new();
    for entry in tar::Archive::new(zstd::Decoder::new(plain)?).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        entries.insert(path, bytes);
    }
    let sums = entries.remove(SUMS_ENTRY).context("no list of digests")?;
    let mut listed: Vec<String> = String::from_utf8(sums)?.lines().map(str::to_owned).collect();
    let digest = |bytes: &[u8]| sha256(bytes).trim_start_matches("sha256:").to_owned();
    let mut found: Vec<String> = entries
        .iter()
        .map(|(path, bytes)| format!("{}  {path}", digest(bytes)))
        .collect();
    listed.sort();
    found.sort();
    ensure!(listed == found, "the list of digests is another one");
    let filling = "objects/core/v1/configmaps/kubermatic/filling-0.json";
    ensure!(entries.contains_key(filling), "{:?}", entries.keys());
    Ok(())
}
