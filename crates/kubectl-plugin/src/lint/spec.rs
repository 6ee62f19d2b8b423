//! A spec that the API server takes, as the operator reads it: what no schema can say. Pure.

use kkp_upgrade_api::KKPUpgradeObject;
use kkp_upgrade_core::request::Request;
use kkp_upgrade_core::rules::{Catalogue, FixProblem, RiskProblem, fix_problems, risk_problems};
use kkp_upgrade_core::version::KkpVersion;
use serde::Deserialize;
use serde_json::Value;

use super::Mistake;

/// What the operator would say `InvalidSpec` to, and a target that it does not know.
pub(super) fn problems(object: &Value) -> Vec<Mistake> {
    let catalogue = match Catalogue::embedded() {
        Ok(catalogue) => catalogue,
        Err(error) => {
            return vec![Mistake::new(
                "",
                error.to_string(),
                "install another build of this program",
            )];
        }
    };
    let spec = KKPUpgradeObject::deserialize(object)
        .map_err(|error| error.to_string())
        .and_then(|object| object.parse_spec().map_err(|error| error.to_string()));
    let spec = match spec {
        Ok(spec) => spec,
        Err(error) => return vec![Mistake::new("spec", error, "correct the field")],
    };
    match Request::try_from(&spec) {
        Ok(request) => by_the_catalogue(&request, catalogue),
        Err(error) => vec![Mistake::new(
            format!("spec.{}", error.field),
            error.problem,
            "correct the field: the operator stops at it",
        )],
    }
}

/// Rules and releases that the request names and that are not as it thinks.
fn by_the_catalogue(request: &Request, catalogue: &Catalogue) -> Vec<Mistake> {
    let mut problems: Vec<Mistake> = risk_problems(catalogue, &request.accepted_risks)
        .iter()
        .map(|problem| risk(problem, request))
        .collect();
    problems.extend(fixes(catalogue, request));
    problems.extend(via(catalogue, request));
    if catalogue.release(request.target).is_none() {
        problems.push(Mistake::new(
            "spec.targetVersion",
            format!("release {} is not in the catalogue", request.target),
            catalogue.releases().hint(request.target),
        ));
    }
    problems
}

fn fixes(catalogue: &Catalogue, request: &Request) -> Vec<Mistake> {
    let mistake = |problem: &FixProblem| {
        let (FixProblem::UnknownRule(rule, _) | FixProblem::NoFix(rule, _)) = problem;
        let index = request.fixes.iter().position(|id| id == rule).unwrap_or(0);
        Mistake::new(
            format!("spec.fixes[{index}]"),
            problem.to_string(),
            "remove the entry or correct its name",
        )
    };
    fix_problems(catalogue, &request.fixes).iter().map(mistake).collect()
}

fn via(catalogue: &Catalogue, request: &Request) -> Vec<Mistake> {
    let unknown = request
        .via
        .iter()
        .enumerate()
        .filter(|(_, version)| catalogue.release(**version).is_none());
    let mistake = |(index, version): (usize, &KkpVersion)| {
        Mistake::new(
            format!("spec.via[{index}]"),
            format!("release {version} is not in the catalogue"),
            catalogue.releases().hint(*version),
        )
    };
    unknown.map(mistake).collect()
}

fn risk(problem: &RiskProblem, request: &Request) -> Mistake {
    let (RiskProblem::UnknownRule(rule) | RiskProblem::NotAcceptable(rule)) = problem;
    let index = request
        .accepted_risks
        .iter()
        .position(|risk| risk.rule == *rule)
        .unwrap_or(0);
    let field = format!("spec.acceptedRisks[{index}].rule");
    match problem {
        RiskProblem::UnknownRule(_) => Mistake::new(
            field,
            format!("there is no rule `{rule}`"),
            "remove the entry or correct its name; `kubectl kkp-upgrade rules` lists all",
        ),
        RiskProblem::NotAcceptable(_) => Mistake::new(
            field,
            format!("rule `{rule}` cannot be accepted"),
            "remove the entry and solve the finding",
        ),
    }
}
