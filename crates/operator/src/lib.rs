//! The operator's shell: observe, execute, record, watches, lease, servers.
