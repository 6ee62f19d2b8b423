//! The test bed: real control planes, a pod runner, platforms to upgrade. Knows nothing of the operator.

pub mod image_folder;
pub mod platform;
pub mod pod_runner;
pub mod sandbox;
