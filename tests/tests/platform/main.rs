//! Upgrades of whole platforms, in one program: these tests mostly wait, each for control planes of its own, so that they
//! overlap. The others (`faults`, `leaders`) use the machine up or mind the time, and are programs of their own.

mod api_rules;
mod crashes;
mod installer;
mod interruptions;
mod keeping;
mod object_storage;
mod refusals;
mod restore;
mod seed_hostile;
mod seed_outage;
mod seed_partition;
mod storage;
mod upgrade;
