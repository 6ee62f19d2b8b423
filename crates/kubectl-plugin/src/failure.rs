//! Why a command has no result: what, and what to do about it. Pure but for the console it is told to.

use serde_json::json;

use crate::console::Console;
use crate::exit::Exit;

/// Why a command has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// How the process ends.
    pub(crate) exit: Exit,
    /// What is wrong, in lower case, with the object's name.
    pub(crate) message: String,
    /// What to do.
    pub(crate) hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            hint: None,
        }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// Tells it on standard error; for programs as one JSON object.
    pub(crate) fn tell(&self, console: &mut Console, as_json: bool) {
        if as_json {
            let document = json!({
                "error": {"exitCode": self.exit.code(), "message": self.message, "hint": self.hint},
            });
            return console.say(&document.to_string());
        }
        let message = console.alarming("error:");
        console.say(&format!("{message} {}", self.message));
        if let Some(hint) = &self.hint {
            console.say(&format!("hint: {hint}"));
        }
    }
}
