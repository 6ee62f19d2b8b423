//! Stand-ins of KKP's programs and of its installer: what they do to objects, their lies included.
//!
//! Each program runs as its own process in a Pod, under its real name and ServiceAccount, and knows its own version from
//! [`release::Release`] (KKP compiles it in). [`script::Script`] makes it slow or faulty. The stand-ins know nothing of who
//! upgrades KKP: they only read and write what the real programs read and write.

mod apply;
mod cluster_access;
mod condition;
pub mod crds;
mod error;
mod flags;
mod follow;
pub mod installer;
mod lease;
mod master;
mod objects;
mod operator;
pub mod release;
pub mod script;
mod seed;
mod seed_workers;
mod start;
mod webhook;

use std::ffi::OsString;
use std::process::ExitCode;

pub use error::Error;

/// The names under which [`run`] can be called: those of the real programs.
pub const PROGRAMS: [&str; 5] = [
    "kubermatic-operator",
    "master-controller-manager",
    "seed-controller-manager",
    "kubermatic-webhook",
    "kubermatic-installer",
];

/// Runs one stand-in until it is told to stop (installer: until it is done). `args` without the program's name.
#[must_use]
pub fn run(program: &str, args: Vec<OsString>) -> ExitCode {
    match program {
        "kubermatic-operator" => start::controller(program, &args, |process| Box::pin(operator::run(process))),
        "master-controller-manager" => start::controller(program, &args, |process| Box::pin(master::run(process))),
        "seed-controller-manager" => start::controller(program, &args, |process| Box::pin(seed::run(process))),
        "kubermatic-webhook" => start::controller(program, &args, |process| Box::pin(webhook::run(process))),
        "kubermatic-installer" => installer::run(args),
        unknown => start::unknown(unknown),
    }
}
