//! A Seed's kubeconfig: read, refused where it would act inside the operator's Pod, made into a configuration for a client.
//!
//! Pure but for the configuration, which is computed from the kubeconfig alone: talks to no cluster, opens no file, starts no
//! program. Must never quote the kubeconfig in an error, because it holds credentials.

use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use secrecy::ExposeSecret;

/// Longest name that an error repeats, in letters.
const NAME_LETTERS: usize = 64;

/// Reads a kubeconfig as it lies under `key` of a Secret, and refuses one that starts programs or names files: they would be
/// those of the operator's Pod.
///
/// # Errors
/// What is wrong with it, as a half-sentence about the Secret.
pub fn read(bytes: &[u8], key: &str) -> Result<Kubeconfig, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| format!("key `{key}` is not text"))?;
    // The parser's own message would quote the kubeconfig.
    let kubeconfig = Kubeconfig::from_yaml(text).map_err(|_| format!("key `{key}` is not a kubeconfig"))?;
    refuse_programs(&kubeconfig)?;
    refuse_files(&kubeconfig)?;
    refuse_tokens(&kubeconfig)?;
    Ok(kubeconfig)
}

/// The configuration for a client, from the kubeconfig's current context.
///
/// # Errors
/// See [`read`], and when the current context leads nowhere.
pub async fn config(bytes: &[u8], key: &str) -> Result<Config, String> {
    let options = KubeConfigOptions::default();
    Config::from_custom_kubeconfig(read(bytes, key)?, &options)
        .await
        .map_err(|error| format!("cannot be used: {}", safe(&error)))
}

fn refuse_programs(kubeconfig: &Kubeconfig) -> Result<(), String> {
    let starts_program = kubeconfig.auth_infos.iter().find(|user| {
        let info = user.auth_info.as_ref();
        info.is_some_and(|info| info.exec.is_some() || info.auth_provider.is_some())
    });
    starts_program.map_or(Ok(()), |user| {
        Err(format!(
            "user `{}` starts a program to log in, which is refused: use a token or a certificate",
            shown(&user.name)
        ))
    })
}

fn refuse_files(kubeconfig: &Kubeconfig) -> Result<(), String> {
    let users = kubeconfig.auth_infos.iter().filter_map(|user| {
        let info = user.auth_info.as_ref()?;
        let file = info.token_file.is_some() || info.client_certificate.is_some() || info.client_key.is_some();
        file.then_some(("user", &user.name))
    });
    let clusters = kubeconfig.clusters.iter().filter_map(|named| {
        let file = named.cluster.as_ref()?.certificate_authority.is_some();
        file.then_some(("cluster", &named.name))
    });
    users.chain(clusters).next().map_or(Ok(()), |(kind, name)| {
        Err(format!(
            "{kind} `{}` names files, which are not here: put the data into the kubeconfig",
            shown(name)
        ))
    })
}

/// A token becomes a header. One that cannot stand in it panics when the client is made, which ends the whole operator.
fn refuse_tokens(kubeconfig: &Kubeconfig) -> Result<(), String> {
    let sendable = |byte: u8| byte == b'\t' || (b' '..=b'~').contains(&byte);
    let unsendable = kubeconfig.auth_infos.iter().find(|user| {
        let token = user.auth_info.as_ref().and_then(|info| info.token.as_ref());
        token.is_some_and(|token| !token.expose_secret().bytes().all(sendable))
    });
    unsendable.map_or(Ok(()), |user| {
        Err(format!(
            "user `{}` has a token with characters that cannot be sent: write it on one line, in ASCII",
            shown(&user.name)
        ))
    })
}

fn shown(name: &str) -> String {
    name.chars().take(NAME_LETTERS).flat_map(char::escape_debug).collect()
}

/// The kind of error, without the text that may quote the file.
const fn safe(error: &KubeconfigError) -> &'static str {
    match error {
        KubeconfigError::CurrentContextNotSet => "it has no current context",
        KubeconfigError::LoadContext(_) => "its current context does not exist",
        KubeconfigError::LoadClusterOfContext(_) => "its cluster does not exist",
        KubeconfigError::MissingClusterUrl => "its cluster has no server",
        _ => "its content is not usable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubeconfig(cluster: &str, user: &str) -> String {
        format!(
            "clusters: [{{name: c, cluster: {{server: 'https://seed.example.test', {cluster}}}}}]\n\
             users: [{{name: u, user: {{{user}}}}}]\n\
             contexts: [{{name: x, context: {{cluster: c, user: u}}}}]\ncurrent-context: x\n"
        )
    }

    #[test]
    fn whatever_would_act_in_the_pod_is_refused() {
        assert!(read(kubeconfig("", "token: geheim").as_bytes(), "k").is_ok());
        for (cluster, user, expected) in [
            (
                "",
                "exec: {apiVersion: client.authentication.k8s.io/v1, command: id}",
                "starts a program",
            ),
            ("", "auth-provider: {name: gcp, config: {}}", "starts a program"),
            ("", "tokenFile: /etc/shadow", "user `u` names files"),
            ("", "client-certificate: a", "user `u` names files"),
            ("", "client-key: a", "user `u` names files"),
            ("certificate-authority: /dev/zero", "", "cluster `c` names files"),
            ("", "token: \"gehe\\nim\"", "user `u` has a token with characters"),
            ("", "token: gehéim", "user `u` has a token with characters"),
        ] {
            let said = read(kubeconfig(cluster, user).as_bytes(), "k").unwrap_err();
            assert!(said.contains(expected), "{said}");
        }
    }

    #[tokio::test]
    async fn errors_name_the_problem_and_quote_nothing() {
        let broken = kubeconfig("", "token: [geheim");
        let twice = kubeconfig("", "token: geheim, token: geheim");
        let lost = kubeconfig("", "token: geheim").replace("current-context: x", "current-context: geheim");
        for (text, expected) in [
            (broken.as_bytes(), "key `k` is not a kubeconfig"),
            (twice.as_bytes(), "key `k` is not a kubeconfig"),
            (lost.as_bytes(), "cannot be used: its current context does not exist"),
            (&[0xff, 0xfe][..], "key `k` is not text"),
        ] {
            assert_eq!(config(text, "k").await.map(drop).unwrap_err(), expected);
        }
        let long =
            kubeconfig("certificate-authority: f", "").replace("name: c,", &format!("name: {},", "ä".repeat(999)));
        assert!(read(long.as_bytes(), "k").unwrap_err().len() < 256);
    }
}
