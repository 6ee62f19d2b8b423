//! Keys of archives: recipients, the run key, and a key pair for those who named none.
//!
//! Talks to nothing but the file of an identity. The private half of a run key lives in memory and must never be written
//! anywhere; no private key may get into a message.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use age::secrecy::ExposeSecret as _;
use age::x25519::{Identity, Recipient};

use crate::BackupError;

/// Most recipients of an archive.
pub const MOST_RECIPIENTS: usize = 16;
/// Longest file with an identity that is read, in bytes.
const LONGEST_IDENTITY_FILE: u64 = 64 << 10;

/// Who can open an archive: age's X25519 recipients, `age1…`.
#[derive(Clone)]
pub struct Recipients(Vec<Recipient>);

/// Public keys, as they are written.
impl std::fmt::Debug for Recipients {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.names()).finish()
    }
}

impl Recipients {
    /// Reads public keys.
    ///
    /// # Errors
    /// When there is none, there are too many, or one is no `age1…`.
    pub fn parse(texts: &[String]) -> Result<Self, BackupError> {
        if texts.is_empty() || texts.len() > MOST_RECIPIENTS {
            return Err(BackupError::Recipients { found: texts.len() });
        }
        let parsed = texts.iter().enumerate().map(|(index, text)| {
            text.parse().map_err(|reason: &str| BackupError::Recipient {
                index,
                reason: reason.to_owned(),
            })
        });
        parsed.collect::<Result<_, _>>().map(Self)
    }

    /// As in the manifest.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}

/// The key of one attempt, one more recipient of its archive: with it the archive is read back. It ends with the program, and
/// then nobody has it.
pub(crate) struct RunKey(Identity);

/// Never shows itself.
impl std::fmt::Debug for RunKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("RunKey")
    }
}

impl RunKey {
    pub(crate) fn generate() -> Self {
        Self(Identity::generate())
    }

    /// The public half.
    pub(crate) fn name(&self) -> String {
        self.0.to_public().to_string()
    }

    pub(crate) fn opener(&self) -> Opener {
        Opener(vec![self.0.clone()])
    }
}

/// Private keys to open an archive with.
#[derive(Clone)]
pub struct Opener(Vec<Identity>);

/// Never shows a key.
impl std::fmt::Debug for Opener {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Opener({} keys)", self.0.len())
    }
}

impl Opener {
    /// Reads a file as `age-keygen` writes it.
    ///
    /// # Errors
    /// When it cannot be read, or has no X25519 key or a line that is none. The line itself is never told.
    pub fn from_file(path: &Path) -> Result<Self, BackupError> {
        let refuse = |reason: String| BackupError::Identity {
            path: path.to_owned(),
            reason,
        };
        let file = std::fs::File::open(path).map_err(|error| refuse(error.to_string()))?;
        let mut keys = Vec::new();
        for (number, line) in BufReader::new(file.take(LONGEST_IDENTITY_FILE)).lines().enumerate() {
            let line = line.map_err(|error| refuse(error.to_string()))?;
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = line.parse::<Identity>();
            keys.push(key.map_err(|_| refuse(format!("line {} is no AGE-SECRET-KEY-1…", number + 1)))?);
        }
        if keys.is_empty() {
            return Err(refuse("it has no key".to_owned()));
        }
        Ok(Self(keys))
    }

    /// Decrypts a stream.
    pub(crate) fn open<R: Read>(&self, archive: &Path, input: R) -> Result<age::stream::StreamReader<R>, BackupError> {
        let keys = self.0.iter().map(|key| -> &dyn age::Identity { key });
        age::Decryptor::new(input)
            .and_then(|decryptor| decryptor.decrypt(keys))
            .map_err(|error| refused(archive.to_owned(), error))
    }
}

fn refused(path: PathBuf, error: age::DecryptError) -> BackupError {
    match error {
        age::DecryptError::NoMatchingKeys => BackupError::WrongKey { path },
        age::DecryptError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => BackupError::Truncated {
            path,
            after: "the start".to_owned(),
        },
        other => BackupError::Corrupt {
            path,
            after: "the start".to_owned(),
            reason: other.to_string(),
        },
    }
}

/// Encrypts what is written to it.
pub(crate) fn encrypt<W: Write>(
    output: W,
    recipients: &Recipients,
    run_key: &RunKey,
) -> io::Result<age::stream::StreamWriter<W>> {
    let run = run_key.0.to_public();
    let all = recipients.0.iter().chain(std::iter::once(&run));
    age::Encryptor::with_recipients(all.map(|recipient| -> &dyn age::Recipient { recipient }))
        .map_err(io::Error::other)?
        .wrap_output(output)
}

/// A key pair for those who named no recipients.
pub struct KeyPair {
    /// What `age --decrypt --identity` reads. Confidential.
    pub identity_file: age::secrecy::SecretString,
    /// The public half, `age1…`.
    pub recipient: String,
}

impl KeyPair {
    /// Makes one.
    #[must_use]
    pub fn generate() -> Self {
        let identity = Identity::generate();
        let recipient = identity.to_public().to_string();
        let private = identity.to_string();
        let text = format!("# public key: {recipient}\n{}\n", private.expose_secret());
        Self {
            identity_file: text.into(),
            recipient,
        }
    }
}
