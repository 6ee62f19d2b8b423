//! Images of the stand-ins and of the operator, all made from the one multi-call program.

use std::path::{Path, PathBuf};

use kkp_lab::image_folder::{ImageConfig, ImageSource, LabConfig, LabMount};
use kkp_lab::platform::ImageRequest;
use kkp_stand_in::PROGRAMS;
use kkp_stand_in::release::{Edition, Release};

use crate::fault;

/// Image of the operator, as `deploy/` names it.
pub const OPERATOR_IMAGE: &str = "quay.io/kkp-upgrade/operator:v0.1.0";

/// An image of KKP with the stand-ins in it.
///
/// # Errors
/// When there is no data for that release.
pub fn stand_in(program: &Path, request: &ImageRequest) -> Result<ImageSource, String> {
    let edition = if request.enterprise {
        Edition::Enterprise
    } else {
        Edition::Community
    };
    let release = Release::of(&request.version, edition).map_err(|error| error.to_string())?;
    let text = release.to_yaml().map_err(|error| error.to_string())?;
    Ok(ImageSource {
        program: program.to_owned(),
        names: PROGRAMS.iter().map(|name| (*name).to_owned()).collect(),
        files: vec![("/etc/kkp-stand-in/release.yaml".to_owned(), text.into_bytes())],
        config: config(),
        lab: host_libraries(),
    })
}

/// The operator's image; its containers see `faults`, see [`crate::fault`].
#[must_use]
pub fn operator(program: PathBuf, faults: &Path) -> ImageSource {
    let mut lab = host_libraries();
    lab.mounts.push(LabMount {
        source: faults.to_owned(),
        target: fault::MOUNT.into(),
        read_only: false,
    });
    ImageSource {
        program,
        names: vec!["kkp-upgrade-operator".to_owned()],
        files: Vec::new(),
        config: config(),
        lab,
    }
}

fn config() -> ImageConfig {
    ImageConfig {
        user: "65534".to_owned(),
        working_dir: "/".to_owned(),
        ..ImageConfig::default()
    }
}

/// The program is linked against the host's libraries.
fn host_libraries() -> LabConfig {
    LabConfig {
        host_libraries: true,
        ..LabConfig::default()
    }
}
