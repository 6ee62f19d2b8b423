//! The owner's end of a lab: its process, and requests with their answers.
//!
//! Never talks to a cluster. Uses threads, not a runtime: a lab must end when its owner drops it, also outside of one.

use std::collections::HashMap;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command as Program, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::protocol::{Command, Message, Outcome, Request};
use super::stages::STAGE_1;

/// How long a lab may take to end by itself.
const END: Duration = Duration::from_secs(15);

/// Requests that wait for their answer; `None` once the lab has ended.
type Pending = Arc<Mutex<Option<HashMap<u64, oneshot::Sender<Outcome>>>>>;

/// A lab's process.
#[derive(Debug)]
pub(super) struct Channel {
    child: Child,
    stdin: Mutex<Option<(ChildStdin, u64)>>,
    pending: Pending,
}

impl Channel {
    /// Starts the lab's process, which does nothing until it is asked to.
    pub(super) fn open(program: &Path, folder: &Path) -> io::Result<Self> {
        let mut child = Program::new(program)
            .arg(STAGE_1)
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C goes to the owner, which may want to say good-bye first.
            .process_group(0)
            .spawn()?;
        let stdin = child
            .stdin
            .take()
            .ok_or_else(|| io::Error::other("the lab has no stdin"))?;
        let stdout = child
            .stdout
            .take()
            .ok_or_else(|| io::Error::other("the lab has no stdout"))?;
        let pending: Pending = Arc::new(Mutex::new(Some(HashMap::new())));
        let copy = Arc::clone(&pending);
        std::thread::Builder::new()
            .name("lab".to_owned())
            .spawn(move || read_messages(stdout, &copy))?;
        Ok(Self {
            child,
            stdin: Mutex::new(Some((stdin, 0))),
            pending,
        })
    }

    /// Sends a request and waits for its answer; `None` when the lab has ended.
    pub(super) async fn ask(&self, command: Command) -> Option<Outcome> {
        self.send(command)?.await.ok()
    }

    /// Process id of the outermost process of the lab.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn send(&self, command: Command) -> Option<oneshot::Receiver<Outcome>> {
        let mut guard = self.stdin.lock().unwrap_or_else(PoisonError::into_inner);
        let (stdin, last) = guard.as_mut()?;
        *last += 1;
        let id = *last;
        let (sender, receiver) = oneshot::channel();
        self.pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()?
            .insert(id, sender);
        let mut line = serde_json::to_string(&Request { id, command }).ok()?;
        line.push('\n');
        stdin.write_all(line.as_bytes()).and_then(|()| stdin.flush()).ok()?;
        Some(receiver)
    }

    /// Ends the lab and returns when its outermost process is gone.
    pub(super) fn close(&mut self) -> io::Result<()> {
        self.stdin.lock().unwrap_or_else(PoisonError::into_inner).take();
        let deadline = Instant::now() + END;
        while self.child.try_wait()?.is_none() {
            if Instant::now() >= deadline {
                // The namespace's first process asked the kernel to end it with this one.
                self.child.kill()?;
                self.child.wait()?;
                return Err(io::Error::other(format!(
                    "the lab did not end within {} s and was killed",
                    END.as_secs()
                )));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            let _ = writeln!(io::stderr().lock(), "kkp-lab: {error}");
        }
    }
}

fn read_messages(stdout: ChildStdout, pending: &Pending) {
    for line in BufReader::new(stdout).lines() {
        let Ok(line) = line else { break };
        match serde_json::from_str(&line) {
            Ok(Message::Answer { id, outcome }) => {
                let sender = pending
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .as_mut()
                    .and_then(|waiting| waiting.remove(&id));
                if let Some(sender) = sender {
                    // An owner that stopped waiting does not want the answer.
                    let _ = sender.send(outcome);
                }
            }
            Ok(Message::Trouble { message }) => {
                let _ = writeln!(io::stderr().lock(), "kkp-lab: {message}");
            }
            Err(_) => {
                let _ = writeln!(io::stderr().lock(), "kkp-lab: unexpected output of the lab: {line}");
            }
        }
    }
    *pending.lock().unwrap_or_else(PoisonError::into_inner) = None;
}
