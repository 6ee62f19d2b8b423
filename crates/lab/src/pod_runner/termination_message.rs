//! The last words of a container.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Longest message file that counts.
const MOST_MESSAGE_BYTES: u64 = 4096;
/// Longest end of a log that stands in for a message.
const MOST_LOG_BYTES: u64 = 2048;
/// Most lines of it.
const MOST_LOG_LINES: usize = 80;

/// The message file's content, or, if it is empty and `log` is given (file and where this run began), the end of the log.
pub(super) fn read(message_file: &Path, log: Option<(&Path, u64)>) -> Option<String> {
    let mut message = Vec::new();
    let file = File::open(message_file).ok();
    let _ = file.map(|file| file.take(MOST_MESSAGE_BYTES).read_to_end(&mut message));
    if message.is_empty() {
        message = log
            .and_then(|(log, start)| end_of_log(log, start).ok())
            .unwrap_or_default();
    }
    (!message.is_empty()).then(|| String::from_utf8_lossy(&message).into_owned())
}

fn end_of_log(path: &Path, start: u64) -> std::io::Result<Vec<u8>> {
    let mut log = File::open(path)?;
    let length = log.metadata()?.len();
    log.seek(SeekFrom::Start(start.max(length.saturating_sub(MOST_LOG_BYTES))))?;
    let mut end = Vec::new();
    log.read_to_end(&mut end)?;
    let lines: Vec<&[u8]> = end.split_inclusive(|byte| *byte == b'\n').collect();
    let skipped = lines.len().saturating_sub(MOST_LOG_LINES);
    Ok(lines.into_iter().skip(skipped).flatten().copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_wins_over_the_log_and_the_log_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let (message, log) = (folder.path().join("message"), folder.path().join("log"));
        std::fs::write(&message, "").unwrap();
        std::fs::write(&log, "of an earlier run\nlast words\n").unwrap();
        assert_eq!(read(&message, None), None);
        assert_eq!(read(&message, Some((&log, 18))).as_deref(), Some("last words\n"));
        std::fs::write(&log, "x\n".repeat(100)).unwrap();
        assert_eq!(read(&message, Some((&log, 0))).unwrap().lines().count(), 80);
        std::fs::write(&log, "y".repeat(5000)).unwrap();
        assert_eq!(read(&message, Some((&log, 0))).unwrap().len(), 2048);
        std::fs::write(&message, "own words").unwrap();
        assert_eq!(read(&message, Some((&log, 0))).as_deref(), Some("own words"));
    }
}
