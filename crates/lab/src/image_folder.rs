//! The image folder: which container images exist on this machine, as plain folders.
