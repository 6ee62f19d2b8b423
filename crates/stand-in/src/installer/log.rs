//! Log lines as the real installer writes them: one JSON object a line with `-o json`, `INFO[15:04:05] …` otherwise.
//!
//! Never talks to a cluster.

use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value, json};

/// Where log lines go.
pub type Sink = Arc<Mutex<dyn Write + Send>>;

/// How serious a line is.
#[derive(Debug, Clone, Copy)]
enum Level {
    Info,
    Warning,
    Error,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// A logger with an indentation, like the `log.Prefix` of KKP.
#[derive(Clone)]
pub struct Log {
    sink: Sink,
    json: bool,
    depth: usize,
    fields: Map<String, Value>,
}

impl Log {
    /// A logger that writes to `sink`.
    #[must_use]
    pub fn new(sink: Sink, json: bool) -> Self {
        Self {
            sink,
            json,
            depth: 0,
            fields: Map::new(),
        }
    }

    /// The same logger, three spaces further in.
    #[must_use]
    pub fn deeper(&self) -> Self {
        let mut log = self.clone();
        log.depth += 1;
        log
    }

    /// The same logger with a field on every line.
    #[must_use]
    pub fn with(&self, name: &str, value: impl Into<Value>) -> Self {
        let mut log = self.clone();
        log.fields.insert(name.to_owned(), value.into());
        log
    }

    /// Writes an informational line.
    pub fn info(&self, message: impl AsRef<str>) {
        self.write(Level::Info, message.as_ref());
    }

    /// Writes a warning.
    pub fn warn(&self, message: impl AsRef<str>) {
        self.write(Level::Warning, message.as_ref());
    }

    /// Writes an error.
    pub fn error(&self, message: impl AsRef<str>) {
        self.write(Level::Error, message.as_ref());
    }

    fn write(&self, level: Level, message: &str) {
        let message = format!("{}{message}", "   ".repeat(self.depth));
        let now = jiff::Timestamp::now();
        let line = if self.json {
            let mut object = self.fields.clone();
            object.insert("level".to_owned(), json!(level.name()));
            object.insert("msg".to_owned(), json!(message));
            object.insert("time".to_owned(), json!(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()));
            format!("{}\n", Value::Object(object))
        } else {
            let fields = self
                .fields
                .iter()
                .fold(String::new(), |text, (name, value)| format!("{text} {name}={value}"));
            let level = &level.name().to_uppercase();
            let level = level.get(..4).unwrap_or(level);
            format!("{level}[{}] {message}{fields}\n", now.strftime("%H:%M:%S"))
        };
        // A log that nobody reads any more must not end an installation in its middle.
        if let Ok(mut sink) = self.sink.lock() {
            let _ = sink.write_all(line.as_bytes()).and_then(|()| sink.flush());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_lines_have_the_fields_of_the_real_program() {
        let buffer = Arc::new(Mutex::new(Vec::new()));
        let log = Log::new(buffer.clone(), true);
        log.with("version", "v2.31.0")
            .with("edition", 0)
            .info("🛫 Initializing installer…");
        log.deeper().deeper().warn("careful");
        let text = String::from_utf8(buffer.lock().unwrap().clone()).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["version"], "v2.31.0");
        assert_eq!(lines[0]["edition"], 0);
        assert_eq!(lines[0]["level"], "info");
        assert_eq!(lines[1]["level"], "warning");
        assert_eq!(lines[1]["msg"], "      careful");
        assert!(lines[1].get("version").is_none());
        assert!(lines[1]["time"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn console_lines_are_for_people() {
        let buffer = Arc::new(Mutex::new(Vec::new()));
        Log::new(buffer.clone(), false).error("no");
        let text = String::from_utf8(buffer.lock().unwrap().clone()).unwrap();
        assert!(text.starts_with("ERRO[") && text.ends_with("] no\n"), "{text}");
    }
}
