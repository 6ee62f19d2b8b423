//! The processes of a lab, each the same program executed again:
//!
//! - `lab-stage1` enters new PID and mount namespaces, waits, and removes the lab's folder at the end;
//! - `lab-stage2` is PID 1 there: reaps orphans and nothing else, so that it never takes an exit status from the
//!   runtime of the third; when it ends, the kernel ends everything in the namespace;
//! - `lab-stage3` runs the control planes and pod runners and serves the owner until its stdin closes.
//!
//! The first two must never start a thread: namespaces are entered by single-threaded processes only.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{getegid, geteuid};

use super::{folder, server};

/// First argument of the outermost process.
pub(super) const STAGE_1: &str = "lab-stage1";
const STAGE_2: &str = "lab-stage2";
const STAGE_3: &str = "lab-stage3";

/// Why a lab's processes could not be set up.
#[derive(Debug, thiserror::Error)]
enum StageError {
    #[error("a stage needs the lab's folder as its only argument")]
    Arguments,
    #[error(
        "cannot make namespaces for the lab ({0}): run as root, or allow user namespaces \
         (kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0)"
    )]
    Namespaces(Errno),
    #[error("cannot map the user into the lab's user namespace: {0}")]
    UserMap(io::Error),
    #[error("cannot make the lab's mounts private: {0}")]
    PrivateMounts(Errno),
    #[error("cannot mount /proc in the lab: {0}; a container that hides parts of /proc does not allow it")]
    MountProc(Errno),
    #[error("cannot end with the owner: {0}")]
    ParentDeath(Errno),
    #[error("cannot execute this program again: {0}")]
    Execute(io::Error),
    #[error("cannot wait for the lab's processes: {0}")]
    Wait(Errno),
    #[error("the lab failed: {0}")]
    Serve(io::Error),
}

/// Runs a stage of the lab if `arguments` (without the program name) ask for one.
pub(crate) fn stage_main(arguments: &[OsString]) -> Option<ExitCode> {
    let (stage, rest) = arguments.split_first()?;
    let outcome = match stage.to_str()? {
        STAGE_1 => the_folder(rest).and_then(|folder| stage_1(&folder)),
        STAGE_2 => the_folder(rest).and_then(|folder| stage_2(&folder)),
        STAGE_3 => the_folder(rest).and_then(|folder| server::serve(&folder).map_err(StageError::Serve)),
        _ => return None,
    };
    Some(outcome.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr().lock(), "kkp-lab: {error}");
        ExitCode::FAILURE
    }))
}

fn the_folder(arguments: &[OsString]) -> Result<PathBuf, StageError> {
    match arguments {
        [folder] => Ok(PathBuf::from(folder)),
        _ => Err(StageError::Arguments),
    }
}

fn stage_1(lab: &Path) -> Result<ExitCode, StageError> {
    enter_namespaces()?;
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )
    .map_err(StageError::PrivateMounts)?;
    let status = again(STAGE_2, lab)?.wait().map_err(StageError::Execute)?;
    if let Err(error) = folder::remove(lab) {
        let _ = writeln!(io::stderr().lock(), "kkp-lab: cannot remove {}: {error}", lab.display());
    }
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// As root directly; otherwise with a user namespace in which this user is root.
fn enter_namespaces() -> Result<(), StageError> {
    let flags = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS;
    match unshare(flags) {
        Ok(()) => return Ok(()),
        Err(Errno::EPERM) => {}
        Err(error) => return Err(StageError::Namespaces(error)),
    }
    let (user, group) = (geteuid(), getegid());
    unshare(flags | CloneFlags::CLONE_NEWUSER).map_err(StageError::Namespaces)?;
    // The kernel wants setgroups denied before an unprivileged process may map a group.
    fs::write("/proc/self/setgroups", "deny")
        .and_then(|()| fs::write("/proc/self/uid_map", format!("0 {user} 1")))
        .and_then(|()| fs::write("/proc/self/gid_map", format!("0 {group} 1")))
        .map_err(StageError::UserMap)
}

fn stage_2(lab: &Path) -> Result<ExitCode, StageError> {
    set_pdeathsig(Signal::SIGKILL).map_err(StageError::ParentDeath)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>).map_err(StageError::MountProc)?;
    let server = again(STAGE_3, lab)?;
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid.as_raw().cast_unsigned() == server.id() => {
                return Ok(if code == 0 {
                    ExitCode::SUCCESS
                } else {
                    ExitCode::FAILURE
                });
            }
            Ok(WaitStatus::Signaled(pid, ..)) if pid.as_raw().cast_unsigned() == server.id() => {
                return Ok(ExitCode::FAILURE);
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(StageError::Wait(error)),
        }
    }
}

fn again(stage: &str, lab: &Path) -> Result<std::process::Child, StageError> {
    let program = std::env::current_exe().map_err(StageError::Execute)?;
    Command::new(program)
        .args([OsStr::new(stage), lab.as_os_str()])
        .spawn()
        .map_err(StageError::Execute)
}
