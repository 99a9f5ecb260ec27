"""Processes, sockets, TLS, DNS, IPC, privileges, clock and log: the only verbs of input and output."""
