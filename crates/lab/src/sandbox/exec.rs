//! Runs one more program inside a running container: exec probes and `preStop`.

use std::fs::File;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;

use super::process::stage as start_stage;
use super::spec::Credentials;
use super::{SandboxError, Step, credentials};

/// One program to run in a container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExecSpec {
    /// PID 1 of the container.
    pub pid: i32,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The container's environment.
    pub environment: Vec<(String, String)>,
    /// The container's user.
    pub credentials: Credentials,
    /// The container's working directory.
    pub working_directory: PathBuf,
}

/// Runs it and tells whether it exited with 0 in time.
pub async fn exec(spec: &ExecSpec, deadline: Duration) -> bool {
    let run = async {
        let mut child = start_stage("sandbox-stage-exec").ok()?;
        let mut input = child.stdin.take()?;
        input.write_all(&serde_json::to_vec(spec).ok()?).await.ok()?;
        drop(input);
        child.wait().await.ok()
    };
    matches!(tokio::time::timeout(deadline, run).await, Ok(Some(status)) if status.success())
}

/// The re-executed process: enters the container's namespaces and runs the program there.
pub(super) fn stage() -> ExitCode {
    run().map_or(ExitCode::FAILURE, |code| {
        ExitCode::from(u8::try_from(code).unwrap_or(255))
    })
}

fn run() -> Result<i32, SandboxError> {
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .read_to_string(&mut text)
        .step(|| "read the description".to_owned())?;
    let spec: ExecSpec = serde_json::from_str(&text)
        .map_err(std::io::Error::from)
        .step(|| "read the description".to_owned())?;
    let credentials = credentials::mapped(&spec.credentials);
    let open = |name: &str| {
        let path = format!("/proc/{}/ns/{name}", spec.pid);
        File::open(&path).step(|| format!("open {path}"))
    };
    let (process_ids, host_name, mounts) = (open("pid")?, open("uts")?, open("mnt")?);
    setns(process_ids, CloneFlags::CLONE_NEWPID).step(|| "enter the PID namespace".to_owned())?;
    setns(host_name, CloneFlags::CLONE_NEWUTS).step(|| "enter the UTS namespace".to_owned())?;
    setns(mounts, CloneFlags::CLONE_NEWNS).step(|| "enter the mount namespace".to_owned())?;
    let Some((program, arguments)) = spec.argv.split_first() else {
        return Ok(0);
    };
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(spec.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(&spec.working_directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .uid(credentials.user)
        .gid(credentials.group)
        .spawn()
        .step(|| format!("run {program}"))?;
    Ok(child
        .wait()
        .step(|| format!("wait for {program}"))?
        .code()
        .unwrap_or(255))
}
