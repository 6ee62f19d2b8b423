//! Tests of the whole machine: `decide` drives a simulated platform that carries out its effects.

mod aborting;
mod backups;
mod happy;
mod identities;
mod installing;
mod lagging;
mod laws;
mod leases;
mod limit;
mod properties;
mod refusals;
mod unreadable;
mod walk;
mod world;
mod world_effects;
mod world_facts;
