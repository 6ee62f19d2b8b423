//! The pod runner against a real control plane. One control plane for all cases, one namespace per case, all at once.
//!
//! This test has its own `main` because the pod runner re-executes the running program as the stages of its sandbox.
//! Arguments that are no option choose the cases whose name contains one of them.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking; without the usual harness the linter does not see that this is one"
)]

mod bed;
mod cases;
mod fault_cases;

use std::ffi::OsString;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::Instant;

use futures::FutureExt;
use futures::future::{LocalBoxFuture, join_all};

use bed::Bed;

type Case = (&'static str, fn(Bed) -> LocalBoxFuture<'static, ()>);

/// Names a case after its function.
macro_rules! cases {
    ($($module:ident::$name:ident),* $(,)?) => {
        [$((stringify!($name), (|bed| Box::pin($module::$name(bed))) as fn(Bed) -> LocalBoxFuture<'static, ()>)),*]
    };
}

const CASES: [Case; 19] = cases![
    cases::a_deployment_of_an_unknown_image_becomes_available,
    cases::a_job_completes,
    cases::a_log_is_read_through_the_api_server_and_whole,
    cases::a_failed_job_tells_code_and_last_words,
    cases::a_job_without_image_waits_until_it_is_there,
    cases::a_job_without_program_waits,
    cases::the_service_account_token_works,
    cases::a_program_gets_its_grace_period,
    cases::a_stubborn_program_is_killed,
    cases::a_claim_outlives_its_pods,
    cases::init_containers_run_in_order,
    cases::failures_are_restarted_with_back_off,
    cases::a_foreign_sidecar_is_faked_beside_a_program,
    cases::the_sandbox_is_what_the_pod_asks_for,
    cases::readiness_follows_the_probe,
    cases::environment_and_volumes_come_from_objects,
    fault_cases::a_killed_process_is_restarted,
    fault_cases::a_pod_can_start_twice,
    fault_cases::a_pod_can_start_never_or_late,
];

/// Cases that take the node away from the others, or add one: one after the other, at the end.
const LAST_CASES: [Case; 2] = cases![
    fault_cases::a_lost_node_catches_up,
    fault_cases::a_lost_job_pod_fails_after_a_restart_of_the_runner,
];

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if arguments
        .first()
        .is_some_and(|name| name.to_string_lossy().starts_with("sandbox-stage"))
    {
        return kkp_lab::sandbox::stage1(&arguments);
    }
    let filters: Vec<String> = arguments
        .iter()
        .filter_map(|argument| argument.to_str().map(str::to_owned))
        .collect();
    if filters.iter().any(|argument| argument == "--list") {
        return list();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(run(filters
        .into_iter()
        .filter(|argument| !argument.starts_with("--"))
        .collect()))
}

#[expect(clippy::print_stdout, reason = "a test program talks to its runner on stdout")]
fn list() -> ExitCode {
    for (name, _) in CASES.into_iter().chain(LAST_CASES) {
        println!("{name}: test");
    }
    ExitCode::SUCCESS
}

async fn run(filters: Vec<String>) -> ExitCode {
    let is_chosen = |(name, _): &Case| filters.is_empty() || filters.iter().any(|filter| name.contains(filter));
    let ground = bed::Ground::start().await;
    let mut results = join_all(CASES.into_iter().filter(is_chosen).map(|case| run_case(&ground, case))).await;
    for case in LAST_CASES.into_iter().filter(is_chosen) {
        results.push(run_case(&ground, case).await);
    }
    ground.stop().await;
    // A filter that chooses nothing is a mistake, not a success.
    if !results.is_empty() && results.into_iter().all(|passed| passed) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[expect(clippy::print_stdout, reason = "a test program talks to its runner on stdout")]
async fn run_case(ground: &bed::Ground, (name, case): Case) -> bool {
    let start = Instant::now();
    let bed = ground.bed(name).await;
    let passed = AssertUnwindSafe(case(bed)).catch_unwind().await.is_ok();
    println!(
        "test {name} ... {} ({:.1} s)",
        if passed { "ok" } else { "FAILED" },
        start.elapsed().as_secs_f32()
    );
    passed
}
