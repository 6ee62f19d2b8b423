//! The stand-ins as processes in Pods of a lab, under their own service accounts: a platform at 2.30.6 that goes to 2.31.0.
//!
//! One program in three roles: the test, the lab (which executes it again), and every stand-in (by its name).

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test without the usual harness is no test for clippy"
)]

mod bench;
mod load;
mod one_cluster;
mod two_clusters;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words: Vec<OsString> = std::env::args_os().collect();
    let name = words
        .first()
        .and_then(|word| Path::new(word).file_name())
        .map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    let arguments = words.split_off(1);
    if kkp_stand_in::PROGRAMS.contains(&name.as_str()) {
        return kkp_stand_in::run(&name, arguments);
    }
    if let Some(code) = kkp_lab::stage_main(&arguments) {
        return code;
    }
    let filter = arguments
        .iter()
        .map(|word| word.to_string_lossy())
        .find(|word| !word.starts_with('-'));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let is_chosen = |name: &str| filter.as_ref().is_none_or(|filter| name.contains(filter.as_ref()));
    if is_chosen("one_cluster") {
        runtime.block_on(one_cluster::upgrade_with_all_lies());
    }
    if is_chosen("two_clusters") {
        runtime.block_on(two_clusters::seed_by_seed());
    }
    if filter.as_deref() == Some("load") {
        runtime.block_on(load::figures());
    }
    ExitCode::SUCCESS
}
