//! The two processes between the pod runner and the program of a container.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};

use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::{set_no_new_privs, set_pdeathsig};
use nix::sys::signal::Signal;
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, pivot_root, sethostname};

use super::spec::{ContainerSpec, Report};
use super::{SandboxError, Step, credentials, root_file_system};

/// First process: makes the namespaces and the root, starts the second, reports its end.
pub(super) fn stage1() -> ExitCode {
    let started = read_spec().and_then(|spec| start_container(&spec));
    let mut child = match started {
        Ok(child) => child,
        Err(error) => return report(&Report::Failed(error.to_string())),
    };
    // Closed by the exec of the program; what is in it is why there was none.
    let mut message = String::new();
    if let Some(mut said) = child.stdout.take() {
        let _ = said.read_to_string(&mut message);
    }
    if !message.is_empty() {
        let _ = child.wait();
        return report(&Report::Failed(message));
    }
    report(&Report::Started(i32::try_from(child.id()).unwrap_or_default()));
    match child.wait() {
        Ok(status) => report(&ended(status)),
        Err(error) => report(&Report::Failed(format!("cannot wait for the program: {error}"))),
    }
}

fn ended(status: ExitStatus) -> Report {
    let signal = status.signal();
    Report::Exited {
        code: status.code().or(signal.map(|number| 128 + number)).unwrap_or(255),
        signal,
    }
}

fn report(report: &Report) -> ExitCode {
    let line = serde_json::to_string(report).unwrap_or_default();
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn read_spec() -> Result<ContainerSpec, SandboxError> {
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .read_to_string(&mut text)
        .step(|| "read the container's description".to_owned())?;
    serde_json::from_str(&text)
        .map_err(std::io::Error::from)
        .step(|| "read the container's description".to_owned())
}

fn start_container(spec: &ContainerSpec) -> Result<Child, SandboxError> {
    let program = std::env::current_exe().step(|| "find the running program".to_owned())?;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWUTS)
        .step(|| "make namespaces (needs root or user namespaces)".to_owned())?;
    sethostname(&spec.hostname).step(|| "set the host name".to_owned())?;
    root_file_system::build(spec)?;
    let mut child = Command::new(program)
        .arg("sandbox-stage2")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .step(|| "start the container's first process".to_owned())?;
    if let Some(mut input) = child.stdin.take() {
        let text = serde_json::to_vec(spec).map_err(std::io::Error::from);
        text.and_then(|text| input.write_all(&text))
            .step(|| "hand over the container's description".to_owned())?;
    }
    Ok(child)
}

/// PID 1 of the container: returns only if the program can't be started.
pub(super) fn stage2() -> ExitCode {
    let Ok(mut said) = std::io::stdout().as_fd().try_clone_to_owned().map(std::fs::File::from) else {
        return ExitCode::FAILURE;
    };
    if let Err(error) = read_spec().and_then(|spec| become_program(&spec)) {
        let _ = write!(said, "{error}");
    }
    ExitCode::FAILURE
}

fn become_program(spec: &ContainerSpec) -> Result<(), SandboxError> {
    let root = spec.scratch.join("root");
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&spec.log)
        .step(|| format!("open the log {}", spec.log.display()))?;
    let credentials = credentials::mapped(&spec.credentials);
    root_file_system::mount_proc(&root)?;
    enter(&root)?;
    let nothing = OpenOptions::new()
        .read(true)
        .open("/dev/null")
        .step(|| "open /dev/null".to_owned())?;
    std::env::set_current_dir(&spec.working_directory)
        .step(|| format!("enter the working directory {}", spec.working_directory.display()))?;
    dup2_stdin(nothing).step(|| "close stdin".to_owned())?;
    dup2_stdout(&log).step(|| "write stdout to the log".to_owned())?;
    dup2_stderr(&log).step(|| "write stderr to the log".to_owned())?;
    set_no_new_privs().step(|| "give up new privileges".to_owned())?;
    credentials::become_user(&credentials)?;
    // Changing the user clears this, so it comes last: the container ends with its first process's parent.
    set_pdeathsig(Signal::SIGKILL).step(|| "bind the container to its parent".to_owned())?;
    let (name, arguments) = spec
        .argv
        .split_first()
        .map_or(("", [].as_slice()), |(name, rest)| (name.as_str(), rest));
    let error = Command::new(&spec.program)
        .arg0(name)
        .args(arguments)
        .env_clear()
        .envs(spec.environment.iter().map(|(name, value)| (name, value)))
        .exec();
    Err(error).step(|| format!("run {}", spec.program.display()))
}

/// Makes `root` the `/` of the container and lets go of the host's files.
fn enter(root: &Path) -> Result<(), SandboxError> {
    std::env::set_current_dir(root).step(|| "enter the container's root".to_owned())?;
    pivot_root(".", ".").step(|| "change the root".to_owned())?;
    umount2(".", MntFlags::MNT_DETACH).step(|| "let go of the host's root".to_owned())?;
    std::env::set_current_dir("/").step(|| "enter the new root".to_owned())
}

/// Tries the namespaces; says on stdout why not.
pub(super) fn check() -> ExitCode {
    match unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWUTS) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stdout().lock(), "{error}");
            ExitCode::FAILURE
        }
    }
}
