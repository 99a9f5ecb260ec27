"""Maildir++: one file per message, readable and writable by Dovecot, Courier, mutt and delivery programs meanwhile.

The files are the truth; `posthouse.index` beside them (one for all folders of a user) remembers UIDs and what would
otherwise have to be read from every message. Who changes this package should know:

- A message is named by the part of its file name before ":" (its base), in whatever directory and with whatever flags.
- Renames and removals of other programs are found by inotify, or by the directories' modification times.
- The index may lag behind the files after a crash, never the other way round for what was acknowledged; opening a
  mailbox brings it up to date. UIDs and UIDVALIDITY are on disk (as reserved blocks) before anybody sees them.
- A delivery that the queue may ask for again leaves a tombstone before its file goes away.
"""
