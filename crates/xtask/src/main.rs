//! Generates what is generated and checks that the committed files are equal.
fn main() {}
