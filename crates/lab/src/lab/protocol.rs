//! What a lab and its owner say to each other: one JSON value per line on the lab's stdin and stdout. Pure.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::topology::Topology;
use crate::control_plane::{Action, Component};

/// From the owner to the lab.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Request {
    /// Comes back in the answer.
    pub(crate) id: u64,
    /// What to do.
    pub(crate) command: Command,
}

/// What a lab can be asked to do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub(crate) enum Command {
    /// Start everything; the first command, sent once.
    Start { topology: Topology },
    /// Do something to a program of a control plane.
    Component {
        cluster: String,
        component: Component,
        action: Action,
    },
    /// Start or stop the pod runner of a cluster: its node is lost and comes back.
    PodRunner { cluster: String, run: bool },
    /// Copy data and certificates of all clusters.
    Snapshot { into: PathBuf },
    /// Put the data of such a copy back into all clusters; their Pods end before and start again afterwards.
    Restore { from: PathBuf },
}

/// From the lab to its owner.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub(crate) enum Message {
    /// The answer to a request.
    Answer { id: u64, outcome: Outcome },
    /// Something went wrong that nobody asked for.
    Trouble { message: String },
}

/// How a request ended.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub(crate) enum Outcome {
    /// The lab is up.
    Started(Started),
    /// It is done.
    Done,
    /// It could not be done.
    Failed { message: String },
}

/// Where things are in a lab that is up.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Started {
    /// Folder with kubectl and the other programs.
    pub(crate) programs: PathBuf,
    /// The image folder.
    pub(crate) images: PathBuf,
    /// The clusters, in the order of the topology.
    pub(crate) clusters: Vec<StartedCluster>,
}

/// Where one control plane is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StartedCluster {
    /// Its name.
    pub(crate) name: String,
    /// Port of the API server on 127.0.0.1.
    pub(crate) port: u16,
    /// A kubeconfig with administrator rights.
    pub(crate) kubeconfig: PathBuf,
    /// Folder with logs and data.
    pub(crate) folder: PathBuf,
    /// How long the control plane took to be ready.
    pub(crate) start_milliseconds: u64,
}
