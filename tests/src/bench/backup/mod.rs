//! A backup of a large seed, as the shipped program makes it, against a plain list of the same objects and against what people are told to
//! dump with kubectl, in turns on one control plane; then the way back, into an empty one, compared object by object.

mod comparison;
mod contender;
mod listing;
mod platform;
mod round_trip;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use kkp_upgrade_backup::{KeyPair, MANIFEST_FILE, Manifest, RECEIPT_FILE};
use secrecy::ExposeSecret as _;
use tokio::process::Command;

use self::comparison::Picture;
use self::contender::Taken;
use self::listing::{Dump, Listed};
use self::platform::Seed;
use super::Teller;
use super::figures::{Figure, load, percentile};
use super::shipped::mebibytes;
use crate::bed::NAMESPACE;

/// The backup that does not count.
const FIRST: &str = "run-0";
/// Name of the target.
const TARGET: &str = "seed-1";
/// What the project asks for, in percent of a plain list.
const SPEED: f64 = 60.0;
/// What the project asks for, in MiB.
const MEMORY: f64 = 128.0;

/// Where backups go, and who can open them.
struct Store {
    folder: tempfile::TempDir,
    recipient: String,
    identity: PathBuf,
}

impl Store {
    fn create() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("kkp-backups-").tempdir()?;
        let key = KeyPair::generate();
        let identity = folder.path().join("key.txt");
        std::fs::write(&identity, key.identity_file.expose_secret())?;
        Ok(Self {
            recipient: key.recipient,
            identity,
            folder,
        })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn manifest(&self, name: &str) -> PathBuf {
        self.path().join(name).join(TARGET).join(MANIFEST_FILE)
    }
}

/// What a backup took.
struct Backup {
    taken: Taken,
    /// Until the manifest was there: everything is read and written.
    written: Duration,
    manifest: Manifest,
}

/// One after the other on the same objects.
struct Round {
    list: Listed,
    backup: Backup,
    dump: Dump,
    load: String,
}

/// What is held against each other, both built for release.
#[derive(Clone, Copy, Debug)]
pub struct Programs<'a> {
    /// The operator.
    pub operator: &'a Path,
    /// `crates/backup/examples/plain_list.rs`.
    pub plain_list: &'a Path,
}

/// How much is measured.
pub struct Extent {
    /// User clusters.
    pub clusters: usize,
    /// Rounds.
    pub repeat: usize,
    /// Also the way back into an empty control plane.
    pub restore: bool,
}

/// Measures a backup of so many user clusters, so many times.
///
/// # Errors
/// When something cannot be measured.
pub async fn measure(
    programs: Programs<'_>,
    &Extent {
        clusters,
        repeat,
        restore,
    }: &Extent,
    tell: &Teller,
    figures: &mut Vec<Figure>,
) -> anyhow::Result<()> {
    ensure!(repeat > 0, "--repeat must be 1 or more");
    let seed = Seed::start().await?;
    tell.say(&format!("backup: making {clusters} user clusters"));
    let filled = seed.fill(clusters).await?;
    let store = Store::create()?;
    tell.say("backup: the first one, which does not count");
    let first = back_up(programs.operator, &seed, &store, FIRST).await?;
    // Of the moment of the first backup, which is the one that is restored: the rounds write to the platform.
    let before = if restore {
        Some(Picture::take(&seed.client).await?)
    } else {
        None
    };
    let mut rounds = Vec::new();
    for number in 1..=repeat {
        tell.say(&format!("backup: round {number} of {repeat}"));
        rounds.push(Box::pin(round(programs, &seed, &store, number)).await?);
    }
    let objects = first.manifest.objects;
    let what = format!(
        "{clusters} user clusters, {objects} objects, {:.0} MiB of JSON, one API server of the lab on the same machine, made in {:.0} s; {repeat} rounds, the median of them",
        mebibytes(rounds.first().map_or(0, |round| round.list.bytes)),
        filled.as_secs_f64()
    );
    tell.say(&what);
    report(&rounds, &what, figures);
    let Some(before) = before else {
        tell.say("backup: no restore, as asked for");
        return Ok(seed.lab.stop()?);
    };
    let uid = seed.uid().await?;
    seed.lab.stop()?;
    tell.say("backup: into an empty control plane");
    Box::pin(round_trip::measure(
        programs.operator,
        &store,
        (&before, &uid),
        tell,
        figures,
    ))
    .await
}

/// Every other time the other way round: who comes second finds a warm API server.
async fn round(programs: Programs<'_>, seed: &Seed, store: &Store, number: usize) -> anyhow::Result<Round> {
    let load = load();
    let name = format!("run-{number}");
    let (backup, list);
    if number.is_multiple_of(2) {
        backup = back_up(programs.operator, seed, store, &name).await?;
        list = same_list(programs, seed, store).await?;
    } else {
        list = same_list(programs, seed, store).await?;
        backup = back_up(programs.operator, seed, store, &name).await?;
    }
    let dump = listing::dump(seed, store.path()).await?;
    Ok(Round {
        list,
        backup,
        dump,
        load,
    })
}

/// The kinds of the first backup, which every round has.
async fn same_list(programs: Programs<'_>, seed: &Seed, store: &Store) -> anyhow::Result<Listed> {
    seed.stir().await?;
    let output = store.path().join("list.json");
    listing::plain(programs.plain_list, seed, &store.manifest(FIRST), &output).await
}

/// By the shipped program, as a process of its own, with what its Job would be given.
async fn back_up(operator: &Path, seed: &Seed, store: &Store, name: &str) -> anyhow::Result<Backup> {
    let mut command = Command::new(operator);
    command
        .arg("backup")
        .arg("--kubeconfig")
        .arg(&seed.kubeconfig)
        .args([
            "--target",
            TARGET,
            "--namespace",
            NAMESPACE,
            "--name",
            name,
            "--recipient",
            &store.recipient,
        ])
        .arg("--destination")
        .arg(store.path())
        .arg("--result-file")
        .arg(store.path().join(format!("{name}.json")));
    seed.stir().await?;
    let begin = SystemTime::now();
    let taken = contender::run(command, &store.path().join(format!("{name}.log")))
        .await
        .with_context(|| std::fs::read_to_string(store.path().join(format!("{name}.json"))).unwrap_or_default())?;
    let folder = store.path().join(name).join(TARGET);
    let written = std::fs::metadata(folder.join(MANIFEST_FILE))?.modified()?;
    ensure!(folder.join(RECEIPT_FILE).exists(), "{name} was not verified");
    Ok(Backup {
        taken,
        written: written.duration_since(begin).unwrap_or_default(),
        manifest: serde_json::from_slice(&std::fs::read(store.manifest(name))?)?,
    })
}

/// The rounds, as figures.
struct Samples<'a>(&'a [Round]);

impl Samples<'_> {
    /// The median, with every sample in the conditions.
    fn figure(&self, name: &str, unit: &'static str, more: &str, of: impl Fn(&Round) -> f64) -> Figure {
        let samples: Vec<f64> = self.0.iter().map(of).collect();
        let each: Vec<String> = samples.iter().map(|sample| format!("{sample:.1}")).collect();
        let middle = percentile(&samples, 0.5).unwrap_or_default();
        Figure::new(name, middle, unit, format!("{} {unit}{more}", each.join(", ")))
    }

    fn seconds(&self, name: &str, more: &str, of: impl Fn(&Round) -> Duration) -> Figure {
        self.figure(name, "s", more, |round| of(round).as_secs_f64())
    }

    /// In percent of the plain list of the same round.
    fn speed(&self, name: &str, more: &str, of: impl Fn(&Round) -> Duration) -> Figure {
        let more = format!(" of the plain list's{more}");
        self.figure(name, "%", &more, |round| {
            100.0 * round.list.seconds / of(round).as_secs_f64().max(0.001)
        })
    }
}

fn report(rounds: &[Round], what: &str, figures: &mut Vec<Figure>) {
    let samples = Samples(rounds);
    let Some(first) = rounds.first() else { return };
    let loads: Vec<&str> = rounds.iter().map(|round| round.load.as_str()).collect();
    let list = format!(
        "; {what}; in {} pages of up to 500 objects; {}",
        first.list.pages,
        loads.join(", ")
    );
    let archive = format!("; archive of {:.1} MiB", mebibytes(first.backup.manifest.archive.bytes));
    let whole = |round: &Round| round.backup.taken.elapsed;
    let kubectl = |round: &Round| round.dump.taken.elapsed;
    figures.extend([
        samples.figure("plain list of the same objects", "s", &list, |round| round.list.seconds),
        samples.seconds("backup, read and written", &archive, |round| round.backup.written),
        samples.seconds("backup with both verifications", "", whole),
        samples
            .speed("speed of reading and writing", "", |round| round.backup.written)
            .at_least(SPEED),
        samples.speed(
            "speed with both verifications",
            ", which reads everything once and not twice",
            whole,
        ),
    ]);
    figures.extend(costs(&samples));
    figures.extend([
        samples.seconds(
            "kubectl get -o yaml",
            "; each CRD with kubermatic in its name, into files",
            kubectl,
        ),
        samples.figure(
            "kubectl's time",
            "%",
            " of the backup's with both verifications",
            |round| 100.0 * kubectl(round).as_secs_f64() / whole(round).as_secs_f64().max(0.001),
        ),
        samples.figure("highest memory of kubectl", "MiB", "", |round| round.dump.taken.memory),
        missed(first),
    ]);
}

/// What a backup takes of its node.
fn costs(samples: &Samples<'_>) -> [Figure; 2] {
    [
        samples
            .figure("highest memory of a backup", "MiB", " (VmHWM, every 50 ms)", |round| {
                round.backup.taken.memory
            })
            .at_most(MEMORY),
        samples.figure("processor time of a backup", "s", "", |round| {
            round.backup.taken.processor
        }),
    ]
}

/// What kubectl's files do not have and the backup has.
fn missed(round: &Round) -> Figure {
    let mut missing = BTreeMap::new();
    for kind in &round.backup.manifest.kinds {
        let name = if kind.group.is_empty() {
            kind.plural.clone()
        } else {
            format!("{}.{}", kind.plural, kind.group)
        };
        *missing.entry(name).or_insert(0) += kind.count;
    }
    for (name, count) in &round.dump.objects {
        if let Some(left) = missing.get_mut(name) {
            *left = left.saturating_sub(*count);
        }
    }
    missing.retain(|_, count| *count > 0);
    let text: Vec<String> = missing.iter().map(|(name, count)| format!("{count} {name}")).collect();
    let all: u64 = missing.values().sum();
    let dumped: u64 = round.dump.objects.values().sum();
    #[expect(clippy::cast_precision_loss, reason = "a count of objects")]
    Figure::new(
        "objects that kubectl misses",
        all as f64,
        "",
        format!(
            "of {}; it has {dumped} in {:.0} MiB of YAML, read kind by kind at different moments; missing: {}",
            round.backup.manifest.objects,
            mebibytes(round.dump.bytes),
            text.join(", ")
        ),
    )
}
