//! Tests of the whole machine: `decide` drives a simulated platform that carries out its effects.

mod aborting;
mod backups;
mod consent;
mod etcd;
mod fixing;
mod happy;
mod hops;
mod identities;
mod installing;
mod lagging;
mod laws;
mod leases;
mod limit;
mod previewing;
mod properties;
mod refusals;
mod retaining;
mod unfixing;
mod unreadable;
mod walk;
mod world;
mod world_effects;
mod world_etcd;
mod world_facts;
mod world_fixes;
mod world_retention;
