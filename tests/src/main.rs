//! The multi-call program: the lab, the stand-ins and the operator in one file, told apart by the name that it is
//! called by, or by its first argument.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use kkp_upgrade_tests::{bench, campaign, demo, fault, handovers};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let called = arguments.next().unwrap_or_default();
    let rest: Vec<OsString> = arguments.collect();
    // The lab's own stages come first: they must run before any thread exists.
    if let Some(code) = kkp_lab::stage_main(&rest) {
        return code;
    }
    let name = Path::new(&called)
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
        .to_owned();
    if kkp_stand_in::PROGRAMS.contains(&name.as_str()) {
        return kkp_stand_in::run(&name, rest);
    }
    if name == "kkp-upgrade-operator" {
        let connector = handovers::gate::connector().unwrap_or_else(|| fault::connector(Path::new(fault::MOUNT)));
        return kkp_upgrade_operator::operator::run(std::env::args_os().collect(), connector);
    }
    let result = match rest.first().and_then(|first| first.to_str()) {
        Some("campaign") => campaign::cli::run(rest.get(1..).unwrap_or_default()),
        Some("demo") => demo::run(rest.get(1..).unwrap_or_default()),
        Some("bench") => bench::run(rest.get(1..).unwrap_or_default()),
        Some("handovers") => handovers::program::run(rest.get(1..).unwrap_or_default()),
        // A kept lab's owner is this program executed again by the lab.
        Some("keeper") => kkp_lab::cli::run(&rest),
        Some("lab") => kkp_lab::cli::run(rest.get(1..).unwrap_or_default()),
        _ => Err(anyhow::anyhow!(
            "say `demo`, `bench`, `campaign` or `lab`; the other programs are called by their own names"
        )),
    };
    result.unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr().lock(), "error: {error:#}");
        ExitCode::FAILURE
    })
}
