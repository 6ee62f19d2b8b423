//! Tests of the whole crate against an API server in memory and real folders.

use std::io::Read as _;

use age::secrecy::ExposeSecret as _;

mod altered;
mod api_faults;
pub(crate) mod broken_disk;
mod bucket_faults;
pub(crate) mod bucket_server;
mod bucket_stub;
mod by_hand;
mod checking;
mod fake_api;
mod reading;
mod retaining;
mod running;
mod secrets;
mod sending;
mod volumes;

/// Opens all archives that tests write.
fn opener() -> crate::Opener {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, fake_api::KEY.identity_file.expose_secret()).unwrap();
    crate::Opener::from_file(&file).unwrap()
}

/// The decrypted archive of a folder.
fn plaintext(folder: &crate::AttemptFolder) -> Vec<u8> {
    let key: age::x25519::Identity = {
        let file = fake_api::KEY.identity_file.expose_secret();
        file.lines().last().unwrap().parse().unwrap()
    };
    let archive = std::fs::File::open(folder.archive()).unwrap();
    let mut reader = age::Decryptor::new(archive)
        .unwrap()
        .decrypt(std::iter::once(&key as &dyn age::Identity))
        .unwrap();
    let mut plain = Vec::new();
    reader.read_to_end(&mut plain).unwrap();
    plain
}
