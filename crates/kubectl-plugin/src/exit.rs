//! Exit codes: one closed list, documented from here. A code is never used for anything else. Pure.

use std::process::ExitCode;

use strum::{Display, VariantArray};

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, VariantArray)]
#[repr(u8)]
pub enum Exit {
    /// Done, and nothing is wrong.
    Done = 0,
    /// Something unexpected.
    Unexpected = 1,
    /// The command line or a file cannot be understood.
    Usage = 2,
    /// Something is not there, or may not be read.
    NotFound = 3,
    /// The upgrade would be blocked or refused, or the file is not valid.
    Blocked = 4,
    /// The upgrade waits for a person.
    Waits = 5,
    /// The time that was given is over.
    Timeout = 8,
    /// There is something to do.
    Differences = 10,
    /// Interrupted by Ctrl-C.
    Interrupted = 130,
}

impl Exit {
    /// The code.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// What the code means and when it comes, for the reference page.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Done => {
                "Done. For `plan`: nothing blocks, whether or not there is something to do. For `lint`: every KKPUpgrade is valid."
            }
            Self::Unexpected => "Something unexpected, such as a platform that does not answer.",
            Self::Usage => "The command line or a file cannot be understood.",
            Self::NotFound => {
                "The object, the rule or the platform is not there, or may not be read: no verdict can be given."
            }
            Self::Blocked => {
                "For `plan`: blockers stand that nobody has accepted, or the request is refused. For `lint`: a KKPUpgrade is not valid. For `backup verify` and `backup download`: a backup is not what it was. For `backup restore`: the Job refused or stopped, or objects are refused."
            }
            Self::Waits => {
                "Only with `--exit-on-wait`: the upgrade waits for approval, is paused, or another one runs. For `backup restore`: the plan waits to be confirmed."
            }
            Self::Timeout => {
                "No verdict within `--timeout`. Nothing was changed. For the `backup` commands that start Jobs: the Job has not ended within `--job-timeout` and goes on."
            }
            Self::Differences => "Only with `--detailed-exitcode`: nothing blocks, and there is something to do.",
            Self::Interrupted => {
                "Ended by Ctrl-C. Nothing was changed; a Job of a `backup` command that was started goes on."
            }
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_what_scripts_rely_on() {
        let codes: Vec<(String, u8)> = Exit::VARIANTS
            .iter()
            .map(|exit| (exit.to_string(), exit.code()))
            .collect();
        let expected = [
            ("Done", 0),
            ("Unexpected", 1),
            ("Usage", 2),
            ("NotFound", 3),
            ("Blocked", 4),
            ("Waits", 5),
            ("Timeout", 8),
            ("Differences", 10),
            ("Interrupted", 130),
        ];
        assert_eq!(codes, expected.map(|(name, code)| (name.to_owned(), code)));
    }
}
