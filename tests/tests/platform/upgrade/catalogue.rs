//! Rules at run time: a ConfigMap adds a rule that blocks; a broken one is refused whole, said, and the compiled-in
//! catalogue counts alone.

use kkp_upgrade_core::rules::Catalogue;

use super::*;

const CONFIG_MAP: &str = "kkp-upgrade-catalogue";

/// The ConfigMap with a rule that finds something on every platform where `fail` is true.
fn config_map(fail: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {CONFIG_MAP}, namespace: {NAMESPACE}}}\ndata:\n  version: v1\n  \
         rules.any.yaml: |\n    - id: acme-frozen\n      hop: any\n      stage: preflight\n      severity: blocker\n      \
         acceptable: true\n      title: The platform is frozen\n      each: platform\n      when: \"true\"\n      \
         fail: \"{fail}\"\n      message: \"'frozen by ACME'\"\n      remedy: Ask the platform team.\n      tests:\n        \
         - {{name: 'yes', it: {{configurations: 1}}, expect: fail}}\n        - {{name: 'no', it: {{configurations: 2}}, expect: pass}}\n"
    )
}

fn finding<'a>(status: &'a Status, rule: &str) -> Option<&'a kkp_upgrade_core::status::FindingStatus> {
    status.findings.iter().find(|finding| finding.rule == rule)
}

fn source(status: &Status) -> &str {
    status.catalogue.as_ref().map_or("", |catalogue| &catalogue.source)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_map_adds_a_rule_that_blocks_and_a_broken_one_counts_for_nothing() -> anyhow::Result<()> {
    let (bed, observer) = bed().await?;
    let compiled = &Catalogue::embedded()?.identity().digest;
    bed.apply(&config_map("it.configurations == 1")).await?;
    bed.apply(&upgrade("frozen", "  mode: Plan\n")).await?;
    let blocked = |status: &Status| reason_of(status, "Ready") == "PreflightBlocked";
    let status = bed.until("frozen", SOON, blocked).await?;
    let found = finding(&status, "acme-frozen").context("the added rule found nothing")?;
    ensure!(
        (found.severity.as_str(), found.message.as_str()) == ("blocker", "frozen by ACME"),
        "{found:?}"
    );
    ensure!(
        message_of(&status, "Ready").contains("acme-frozen"),
        "{}",
        message_of(&status, "Ready")
    );
    let in_force = status.catalogue.context("status does not name the catalogue")?;
    ensure!(
        in_force.source == "ConfigMap" && in_force.digest != *compiled,
        "{in_force:?}"
    );
    let plan = Api::<ConfigMap>::namespaced(bed.client.clone(), NAMESPACE)
        .get("frozen-plan")
        .await?;
    let text = plan.data.unwrap_or_default().into_values().collect::<String>();
    ensure!(
        text.contains(&in_force.digest),
        "the plan does not name the catalogue:\n{text}"
    );

    bed.apply(&config_map("it.configurationz == 1")).await?;
    let refused = |status: &Status| finding(status, "catalogue-refused").is_some() && source(status) == "Compiled";
    let status = bed.until("frozen", SOON, refused).await?;
    let warning = finding(&status, "catalogue-refused").context("no warning")?;
    ensure!(warning.severity == "warning", "{warning:?}");
    for word in ["rules.any.yaml line 1", "acme-frozen", "it.configurationz"] {
        ensure!(warning.message.contains(word), "`{word}` is not in: {warning:?}");
    }
    ensure!(finding(&status, "acme-frozen").is_none(), "a refused rule still counts");
    let back = status.catalogue.as_ref().map(|catalogue| &catalogue.digest);
    ensure!(back == Some(compiled), "{back:?}");
    bed.until("frozen", SOON, |status| reason_of(status, "Ready") == "PlanReady")
        .await?;
    let described = bed
        .kubectl(&["describe", "configmap", CONFIG_MAP, "-n", NAMESPACE])
        .await?;
    for reason in ["CatalogueInForce", "CatalogueRefused"] {
        ensure!(described.contains(reason), "no event {reason}:\n{described}");
    }

    bed.kubectl(&["delete", "configmap", CONFIG_MAP, "-n", NAMESPACE])
        .await?;
    let without = |status: &Status| finding(status, "catalogue-refused").is_none() && source(status) == "Compiled";
    bed.until("frozen", SOON, without).await?;
    bed.finish(&observer)
}
