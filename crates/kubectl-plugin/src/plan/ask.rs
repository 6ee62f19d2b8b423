//! What a plan is asked for: a KKPUpgrade of the cluster, one of a file, or just a version.

use kkp_upgrade_api::{GROUP, KIND, KKPUpgradeObject, VERSION};
use kkp_upgrade_core::version::KkpVersion;
use serde_json::json;

use crate::arguments::PlanArguments;
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::lint;

/// Name that stands for a KKPUpgrade which has none yet.
const UNNAMED: &str = "plan";

/// What a plan is asked for.
#[derive(Debug, Clone)]
pub(crate) enum Asked {
    /// The KKPUpgrade of this name in the cluster.
    Named(String),
    /// A KKPUpgrade that need not be in the cluster, and the command that applies it.
    Given {
        /// The object, without a UID.
        object: Box<KKPUpgradeObject>,
        /// What to do when nothing blocks.
        apply: String,
    },
}

impl Asked {
    /// What the command line asks for.
    ///
    /// # Errors
    /// A file that cannot be read or that holds no valid KKPUpgrade, or several; a version that is none.
    pub(crate) fn read(arguments: &PlanArguments, console: &mut Console) -> Result<Self, Failure> {
        match (&arguments.name, &arguments.filename, &arguments.target_version) {
            (Some(name), _, _) => Ok(Self::Named(name.clone())),
            (None, Some(file), _) => from_file(file, console),
            (None, None, Some(version)) => from_version(version),
            (None, None, None) => Err(Failure::new(Exit::Usage, "nothing is named to plan for")),
        }
    }
}

fn from_file(file: &str, console: &mut Console) -> Result<Asked, Failure> {
    let linted = lint::check(file, console)?;
    if let Some(problem) = linted.problems().next() {
        let more = linted.problems().count().saturating_sub(1);
        let more = if more == 0 {
            String::new()
        } else {
            format!(" (and {more} more)")
        };
        return Err(
            Failure::new(Exit::Blocked, format!("{}: {problem}{more}", lint::shown(file)))
                .hint(format!("kubectl kkp-upgrade lint -f {file}")),
        );
    }
    let mut objects = linted.into_objects();
    let (Some(object), true) = (objects.pop(), objects.is_empty()) else {
        return Err(
            Failure::new(Exit::Usage, format!("{} holds several KKPUpgrades", lint::shown(file)))
                .hint("a plan is of one of them: give it a file of its own"),
        );
    };
    let mut object: KKPUpgradeObject = serde_json::from_value(object)
        .map_err(|error| Failure::new(Exit::Usage, format!("{}: {error}", lint::shown(file))))?;
    // What only the cluster gives: a plan for a file has nobody's identity.
    object.metadata.uid = None;
    object.status = serde_json::Value::Null;
    Ok(Asked::Given {
        object: Box::new(object),
        apply: format!("kubectl apply -f {file}"),
    })
}

fn from_version(version: &str) -> Result<Asked, Failure> {
    let target: KkpVersion = version
        .parse()
        .map_err(|error| Failure::new(Exit::Usage, format!("--target-version: {error}")))?;
    let object = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"), "kind": KIND, "metadata": {"name": UNNAMED},
        "spec": {"targetVersion": target.to_string()},
    });
    let object = serde_json::from_value(object).map_err(|error| Failure::new(Exit::Unexpected, error.to_string()))?;
    Ok(Asked::Given {
        object: Box::new(object),
        apply: format!("write a KKPUpgrade with spec.targetVersion \"{target}\", and plan that with -f"),
    })
}
