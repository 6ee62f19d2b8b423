//! Every target over its kept corpus, and over mutations of it. Needs no tool and no cluster.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use kkp_upgrade_fuzz::{Target, on_worker};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

/// Mutations that are tried of one target's corpus.
const MUTATIONS: u32 = 100;

fn corpus(target: Target) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target.to_string());
    let mut files = fs::read_dir(&folder)
        .with_context(|| format!("read {}", folder.display()))?
        .map(|entry| {
            let path = entry?.path();
            let bytes = fs::read(&path)?;
            Ok((path, bytes))
        })
        .collect::<Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

fn replay(target: Target) -> Result<()> {
    let files = corpus(target)?;
    ensure!(files.len() >= 12, "the corpus of {target} has {} files", files.len());
    let mut broken = Vec::new();
    for (path, input) in &files {
        // Said before the run: where the whole process ends, the name is left.
        eprintln!("{}", path.display());
        match catch_unwind(|| target.check(input)) {
            Ok(Ok(())) => {}
            Ok(Err(violation)) => broken.push(format!("{}: {violation}", path.display())),
            Err(_) => broken.push(format!("{}: panicked", path.display())),
        }
    }
    ensure!(broken.is_empty(), "{}", broken.join("\n"));
    Ok(())
}

/// One change to an input.
#[derive(Debug, Clone)]
enum Change {
    Set(usize, u8),
    Cut(usize, usize),
    Repeat(usize, usize, usize),
    Insert(usize, &'static [u8]),
    Splice(usize, usize),
}

/// What hostile inputs have in common.
const PIECES: [&[u8]; 12] = [
    b"\0",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\\ud800",
    b"-9223372036854775808",
    b"1e999",
    b"2147483648",
    b"[[[[[[[[",
    b"*a",
    b"&a [*a,*a]",
    b"---\n",
    b"\xe2\x80\xae",
];

fn change() -> impl Strategy<Value = Change> {
    let place = 0..4096_usize;
    prop_oneof![
        (place.clone(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (place.clone(), 1..64_usize).prop_map(|(at, length)| Change::Cut(at, length)),
        (place.clone(), 1..32_usize, 2..200_usize).prop_map(|(at, length, times)| Change::Repeat(at, length, times)),
        (place.clone(), prop::sample::select(PIECES.as_slice())).prop_map(|(at, piece)| Change::Insert(at, piece)),
        (place.clone(), place).prop_map(|(from, to)| Change::Splice(from, to)),
    ]
}

fn apply(input: &mut Vec<u8>, change: &Change) {
    let within = |at: usize| if input.is_empty() { 0 } else { at % input.len() };
    let range = |at: usize, length: usize| {
        let start = within(at);
        start..(start + length).min(input.len())
    };
    match *change {
        Change::Set(at, byte) => {
            let at = within(at);
            if let Some(old) = input.get_mut(at) {
                *old = byte;
            }
        }
        Change::Cut(at, length) => drop(input.drain(range(at, length))),
        Change::Repeat(at, length, times) => {
            let range = range(at, length);
            let end = range.end;
            let piece = input.get(range).unwrap_or_default().repeat(times);
            input.splice(end..end, piece);
        }
        Change::Insert(at, piece) => {
            let at = within(at);
            input.splice(at..at, piece.iter().copied());
        }
        Change::Splice(from, to) => {
            let (from, to) = (within(from), within(to));
            let tail = input.get(from..).unwrap_or_default().to_vec();
            input.truncate(to);
            input.extend(tail);
        }
    }
}

fn mutations(target: Target) -> Result<()> {
    // The largest inputs are bombs: what is near them is slow and says nothing new.
    let seeds: Vec<Vec<u8>> = corpus(target)?
        .into_iter()
        .map(|(_, input)| input)
        .filter(|input| input.len() < 8192)
        .collect();
    let inputs = (prop::sample::select(seeds), prop::collection::vec(change(), 1..4));
    let config = Config {
        cases: MUTATIONS,
        failure_persistence: None,
        ..Config::default()
    };
    on_worker(|| {
        TestRunner::new(config).run(&inputs, |(mut input, changes)| {
            for change in &changes {
                apply(&mut input, change);
            }
            target.check_here(&input).map_err(|violation| {
                TestCaseError::fail(format!("{target}: {violation}: {:?}", String::from_utf8_lossy(&input)))
            })
        })
    })?;
    Ok(())
}

macro_rules! targets {
    ($($replay:ident, $mutations:ident: $target:ident;)*) => {$(
        #[test]
        fn $replay() -> Result<()> {
            replay(Target::$target)
        }

        #[test]
        fn $mutations() -> Result<()> {
            mutations(Target::$target)
        }
    )*};
}

targets! {
    the_kept_corpus_of_helm_breaks_nothing, mutations_of_helm_break_nothing: Helm;
    the_kept_corpus_of_kubeconfig_breaks_nothing, mutations_of_kubeconfig_break_nothing: Kubeconfig;
    the_kept_corpus_of_upgrade_breaks_nothing, mutations_of_upgrade_break_nothing: Upgrade;
    the_kept_corpus_of_catalogue_breaks_nothing, mutations_of_catalogue_break_nothing: Catalogue;
    the_kept_corpus_of_plan_breaks_nothing, mutations_of_plan_break_nothing: Plan;
}
