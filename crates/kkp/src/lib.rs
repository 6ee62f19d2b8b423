//! What the operator reads of KKP: slim resource types, evidence, Helm release decoding.
