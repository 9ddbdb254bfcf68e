"""HTTP in: the receiver, the operator's API, health. Decides nothing; calls flows."""
