//! The test bed: real control planes, a pod runner, platforms to upgrade. Knows nothing of the operator.
