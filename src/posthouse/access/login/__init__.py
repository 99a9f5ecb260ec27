"""Connections before login: from the greeting until a mailbox process takes over.

`connection.LoginConnection` is one client, `door.Door` what all of a process's clients share (limits, peers, the
sweep), `relay.Relay` the rest of the life of a TLS connection. The dialogues themselves are `protocol/imap/login.py`
and `protocol/pop3/login.py`; services/login.py makes the listeners and reads the settings.
"""
