"""The torture: the whole system under load and under faults, round after round; then everything that was acknowledged
is looked for. `make torture [ROUNDS=n] [SEED=n]`; docs/durability.md says what is injected and what was found."""
