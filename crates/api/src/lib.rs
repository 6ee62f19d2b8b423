//! The KKPUpgrade custom resource: types, schema and admission rules.
