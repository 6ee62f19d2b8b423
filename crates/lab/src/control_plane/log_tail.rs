//! The end of a log file, for error messages. Reads files only.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

const BYTES: u64 = 4096;
const LINES: usize = 20;

/// The last lines of a file; an unreadable file gives its error as text, because the caller is already failing.
pub(crate) fn log_tail(path: &Path) -> String {
    match read_tail(path) {
        Ok(text) => {
            let lines: Vec<&str> = text.lines().collect();
            lines
                .get(lines.len().saturating_sub(LINES)..)
                .unwrap_or_default()
                .join("\n")
        }
        Err(error) => format!("(cannot read the log: {error})"),
    }
}

fn read_tail(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_lines_are_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let lines: Vec<String> = (0..5000).map(|number| format!("line {number}")).collect();
        std::fs::write(&path, lines.join("\n")).unwrap();
        let tail = log_tail(&path);
        assert_eq!(tail.lines().count(), LINES);
        assert!(tail.ends_with("line 4999"), "{tail}");
    }
}
