//! Stand-ins of KKP's programs and of its installer: what they do to objects, their lies included.
