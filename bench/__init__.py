"""Measurements of Posthouse beside its peers, in one run, on one machine. `make bench` starts it."""
