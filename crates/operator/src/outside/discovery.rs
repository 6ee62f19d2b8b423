//! The discovery document of an `OpenID` Connect issuer: where it lies, and what of it is kept.

use http::Uri;
use serde::Deserialize;

use super::fetch::{self, Failure, Trust};

/// Longest address of an issuer, in bytes.
const ADDRESS: usize = 1024;
/// Most values of one list that are looked at.
const VALUES: usize = 200;
/// Longest text that is kept, in letters.
const LETTERS: usize = 256;

/// What came of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It answered.
    Answered(Answer),
    /// It was not asked, or its answer not taken, for a reason that lies in the issuer.
    Refused(String),
    /// Nothing can be said from here: there was no answer.
    Silent(String),
}

impl Outcome {
    /// Whether it will hardly be another one soon: all that was hoped for, or a silence that costs its deadline each time.
    pub(super) fn is_settled(&self) -> bool {
        match self {
            Self::Answered(answer) => answer
                .document
                .as_ref()
                .is_some_and(|document| document.issuer.is_some()),
            Self::Refused(_) => false,
            Self::Silent(_) => true,
        }
    }
}

/// An answer of the issuer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) status: u16,
    /// What it says, where it answers 200 with a JSON object.
    pub(crate) document: Option<Document>,
}

/// What of the document is looked at; lists that it leaves out say nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Document {
    /// Its own name for itself, which tokens carry.
    pub(crate) issuer: Option<String>,
    /// Scopes.
    #[serde(rename = "scopes_supported")]
    pub(crate) scopes: Option<Vec<String>>,
    /// Grant types.
    #[serde(rename = "grant_types_supported")]
    pub(crate) grants: Option<Vec<String>>,
    /// Methods of PKCE.
    #[serde(rename = "code_challenge_methods_supported")]
    pub(crate) challenges: Option<Vec<String>>,
}

impl Document {
    /// Reads a document; `None` = it is no JSON object of this form.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        // An array would be read as a struct, too.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return None;
        }
        let mut document: Self = serde_json::from_slice(bytes).ok()?;
        let cut = |text: &String| text.chars().take(LETTERS).collect::<String>();
        document.issuer = document.issuer.as_ref().map(cut);
        let lists = [&mut document.scopes, &mut document.grants, &mut document.challenges];
        for values in lists.into_iter().flatten() {
            values.truncate(VALUES);
            *values = values.iter().map(cut).collect();
        }
        Some(document)
    }
}

/// Asks an issuer for its document.
pub(super) async fn ask(issuer: &str, trust: &Trust) -> Outcome {
    let address = match address(issuer) {
        Ok(address) => address,
        Err(why) => return Outcome::Refused(why),
    };
    match fetch::get(address, trust).await {
        Ok((status, body)) => Outcome::Answered(Answer {
            status,
            document: (status == 200).then(|| Document::read(&body)).flatten(),
        }),
        Err(Failure::Refused(why)) => Outcome::Refused(why),
        Err(Failure::Silent(why)) => Outcome::Silent(why),
    }
}

/// Where the document of an issuer lies.
///
/// # Errors
/// Why it is not asked: only HTTPS, no user, no query.
pub(super) fn address(issuer: &str) -> Result<Uri, String> {
    if issuer.len() > ADDRESS {
        return Err(format!("its address is longer than {ADDRESS} bytes"));
    }
    let named: Uri = issuer.parse().map_err(|_| "its address is no URL".to_owned())?;
    if named.scheme_str() != Some("https") {
        return Err("its address does not begin with https, so it is not asked".to_owned());
    }
    if named
        .authority()
        .is_none_or(|authority| authority.as_str().contains('@'))
        || named.host().is_none_or(str::is_empty)
    {
        return Err("its address has no host, or a user in it, so it is not asked".to_owned());
    }
    if named.query().is_some() || issuer.contains('#') {
        return Err("its address has a query or a fragment, so it is not asked".to_owned());
    }
    let document = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    document.parse().map_err(|_| "its address is no URL".to_owned())
}
