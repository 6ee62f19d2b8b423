//! Sending a stored file in pieces, as lines of a log.

use base64::Engine as _;

use super::bucket_stub::{PATIENT, Stub};
use crate::send::{MOST_SENT, PIECE_LINE};
use crate::store::{AttemptFolder, Store};
use crate::verify::on_a_thread;
use crate::{ARCHIVE_FILE, MANIFEST_FILE, SendArguments, StoreArguments, StoredFile, digest, send};

fn decoded(lines: &[String]) -> Vec<u8> {
    let bytes = |line: &String| {
        let text = line.strip_prefix(PIECE_LINE).unwrap();
        assert!(line.len() < 16_000, "a runtime would break it");
        base64::engine::general_purpose::STANDARD.decode(text).unwrap()
    };
    lines.iter().flat_map(bytes).collect()
}

/// All pieces of a file, one after the other.
async fn received(store: StoreArguments, file: StoredFile, result_file: &std::path::Path) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let arguments = SendArguments {
            store: store.clone(),
            name: "run-1".to_owned(),
            folder: "master".to_owned(),
            file,
            offset: whole.len() as u64,
            result_file: result_file.to_owned(),
        };
        let (lines, result) = send(arguments).await.unwrap();
        let piece = decoded(&lines);
        assert_eq!((piece.len() as u64, digest(&piece)), (result.sent, result.digest));
        assert!(!piece.is_empty() && result.sent <= MOST_SENT);
        let length: usize = lines.iter().map(String::len).sum();
        assert!(length < 10 << 20, "a kubelet would rotate it");
        whole.extend(piece);
        if whole.len() as u64 == result.length {
            return whole;
        }
    }
}

#[tokio::test]
async fn the_pieces_make_the_file_from_a_volume_and_from_a_bucket() {
    let archive: Vec<u8> = (0_u32..).flat_map(u32::to_le_bytes).take(6 << 20).collect();
    let (volume, stub) = (tempfile::tempdir().unwrap(), Stub::start().await);
    let in_bucket = StoreArguments {
        destination: None,
        bucket: stub.arguments(),
    };
    for (store, arguments) in [
        (Store::from(volume.path()), StoreArguments::volume(volume.path())),
        (stub.store(PATIENT), in_bucket),
    ] {
        let content = archive.clone();
        on_a_thread(move || {
            let folder = AttemptFolder::claim(&store, "run-1", "master")?;
            folder.write(ARCHIVE_FILE, content)?;
            folder.write(MANIFEST_FILE, b"{}".to_vec())
        })
        .await
        .unwrap();
        let result = volume.path().join("result");
        assert!(received(arguments.clone(), StoredFile::Archive, &result).await == archive);
        assert_eq!(received(arguments.clone(), StoredFile::Manifest, &result).await, b"{}");
        let missing = SendArguments {
            store: arguments,
            name: "run-1".to_owned(),
            folder: "master".to_owned(),
            file: StoredFile::Receipt,
            offset: 0,
            result_file: result.clone(),
        };
        assert!(send(missing).await.is_err());
        let word = std::fs::read_to_string(&result).unwrap();
        assert!(word.contains("\"error\"") && word.contains("verified.json"), "{word}");
    }
}
