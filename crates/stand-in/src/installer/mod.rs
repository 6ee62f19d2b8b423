//! Stand-in of `kubermatic-installer`.
