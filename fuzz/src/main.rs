//! The program that AFL++ drives: `kkp-upgrade-fuzz TARGET`, one process for many inputs. What breaks aborts the process,
//! which AFL++ keeps as a crash. Talks to nothing but AFL++.

use std::io::Write;
use std::process;

use anyhow::Context as _;
use kkp_upgrade_fuzz::{Target, on_worker};

fn main() -> anyhow::Result<()> {
    let name = std::env::args().nth(1).context("name the target")?;
    let target: Target = name.parse().with_context(|| format!("there is no target {name}"))?;
    on_worker(|| {
        afl::fuzz(true, |input| {
            if let Err(violation) = target.check_here(input) {
                // The abort is what counts; without standard error nobody is there to read.
                drop(writeln!(std::io::stderr().lock(), "{target}: {violation}"));
                process::abort();
            }
        });
    });
    Ok(())
}
