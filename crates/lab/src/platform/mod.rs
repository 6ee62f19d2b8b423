//! A KKP platform on the lab's control planes: master, seeds, user clusters.
