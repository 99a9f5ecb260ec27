"""IMAP and POP3 sessions: commands carried out on a store.

A session begins after authentication and works on a `store.interface.Store`. It is an `asyncio.Protocol`, so whoever
owns the socket (services/mailbox.py) hands it to the loop and looks after process-wide matters only::

    from posthouse.access.imap.session import ImapSession
    from posthouse.access.imap.options import ImapOptions
    from posthouse.access.opening import Opening
    from posthouse.access.pop3.session import Pop3Session
    from posthouse.access.pop3.options import Pop3Options

    options = ImapOptions.from_settings(dovecot)         # once per (re)load; Settings of dovecot.conf
    opening = Opening(user=entry.user, tag=handover.tag, unread=handover.unread,
                      remote=handover.remote, local=handover.local, session=handover.session, secured=handover.secured)
    session = ImapSession(store, opening, options, on_closed=closed, on_error=report)
    transport, _ = await loop.connect_accepted_socket(lambda: session, sock)

- `connection_made` writes the tagged OK of LOGIN/AUTHENTICATE ("* PREAUTH" if the tag is empty; "+OK Logged in." for
  POP3) and goes on with `unread`.
- Commands run inside `data_received`; one that takes longer than `options.pace.slice_s` (10 ms), or whose output the
  transport does not take (`pause_writing`), goes on later from the loop. Reading is paused when a client pipelines
  more than `options.pace.input_limit` behind a running command. What must be durable waits for `store.flush()`.
- `on_closed(session)` is called exactly once, when the connection is gone and nothing of the session runs any more:
  log f"Disconnected: {session.end_reason} {session.statistics_text()}" ("Disconnected: Logged out in=.. out=.."),
  release the store. The session never closes the store; it stops listening to its mailbox.
- `on_error(error, text)`: a StorageFailed or a bug (the client was told NO [SERVERBUG]); log it, with traceback if it
  is not a StoreError.
- `session.sweep()` about once in 30 s for every session: autologout after `options.pace.idle_limit_s` (30 minutes,
  RFC 3501 s5.4), "* OK Still here" for IDLE, looking for foreign changes. One timer in the process serves all sessions.
- `session.shutdown(text)`: "* BYE text" between two commands, then close (stop, reload with another uid, user deleted).

`StoreError`s become NO with their code (RFC 5530); nothing a client sends raises out of these methods.
"""
