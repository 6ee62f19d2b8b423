//! Tests of the whole machine: `decide` drives a simulated platform that carries out its effects.

mod aborting;
mod happy;
mod identities;
mod installing;
mod laws;
mod limit;
mod properties;
mod refusals;
mod unreadable;
mod walk;
mod world;
mod world_effects;
mod world_facts;
