"""The commands of an authenticated session and when they may be given.

The table answers three questions: does this command exist, does it need a selected mailbox (else it is legal in both
states), may the client be told of EXPUNGE at its end. Handlers never check the state. A name that is not here is
answered with BAD.
"""

from collections.abc import Mapping
from typing import Final

from posthouse.access.imap.command import (
    append,
    check,
    close,
    copy,
    create,
    delete,
    enable,
    expunge,
    fetch,
    identify,
    idle,
    list_mailboxes,
    logout,
    namespace,
    noop,
    rename,
    search,
    select,
    status,
    store,
    subscribe,
)
from posthouse.access.imap.specification import Spec, State

_AUTHENTICATED: Final = State.AUTHENTICATED
_SELECTED: Final = State.SELECTED

CAPABILITIES: Final = (
    "IMAP4rev1",
    "LITERAL+",
    "SASL-IR",
    "LOGIN-REFERRALS",
    "ID",
    "ENABLE",
    "IDLE",
    "UNSELECT",
    "CHILDREN",
    "NAMESPACE",
    "UIDPLUS",
    "MOVE",
    "SPECIAL-USE",
    "CREATE-SPECIAL-USE",
)
"""Exactly what works after login. The ones before login are the login process's."""

COMMANDS: Final[Mapping[str, Spec]] = {
    # RFC 3501 s6.1: any state
    "CAPABILITY": Spec(_AUTHENTICATED, noop.capability(CAPABILITIES)),
    "NOOP": Spec(_AUTHENTICATED, noop.noop),
    "LOGOUT": Spec(_AUTHENTICATED, logout.logout),
    "ID": Spec(_AUTHENTICATED, identify.identify),  # RFC 2971
    # RFC 3501 s6.3: authenticated
    "SELECT": Spec(_AUTHENTICATED, select.select),
    "EXAMINE": Spec(_AUTHENTICATED, select.examine),
    "CREATE": Spec(_AUTHENTICATED, create.create),
    "DELETE": Spec(_AUTHENTICATED, delete.delete),
    "RENAME": Spec(_AUTHENTICATED, rename.rename),
    "SUBSCRIBE": Spec(_AUTHENTICATED, subscribe.subscribe),
    "UNSUBSCRIBE": Spec(_AUTHENTICATED, subscribe.unsubscribe),
    "LIST": Spec(_AUTHENTICATED, list_mailboxes.list_mailboxes),
    "LSUB": Spec(_AUTHENTICATED, list_mailboxes.lsub),
    "STATUS": Spec(_AUTHENTICATED, status.status),
    "APPEND": Spec(_AUTHENTICATED, append.append, creates_target=True, before_literal=append.before_literal),
    "NAMESPACE": Spec(_AUTHENTICATED, namespace.namespace),  # RFC 2342
    "ENABLE": Spec(_AUTHENTICATED, enable.enable),  # RFC 5161
    "IDLE": Spec(_AUTHENTICATED, idle.idle),  # RFC 2177
    # RFC 3501 s6.4: selected
    "CHECK": Spec(_SELECTED, check.check),
    "CLOSE": Spec(_SELECTED, close.close),
    "UNSELECT": Spec(_SELECTED, close.unselect),  # RFC 3691
    "EXPUNGE": Spec(_SELECTED, expunge.expunge),
    "UID EXPUNGE": Spec(_SELECTED, expunge.uid_expunge),  # RFC 4315
    "SEARCH": Spec(_SELECTED, search.search, may_expunge=False),
    "UID SEARCH": Spec(_SELECTED, search.uid_search),
    "FETCH": Spec(_SELECTED, fetch.fetch, may_expunge=False),
    "UID FETCH": Spec(_SELECTED, fetch.uid_fetch),
    "STORE": Spec(_SELECTED, store.store, may_expunge=False),
    "UID STORE": Spec(_SELECTED, store.uid_store),
    "COPY": Spec(_SELECTED, copy.copy, creates_target=True),
    "UID COPY": Spec(_SELECTED, copy.uid_copy, creates_target=True),
    "MOVE": Spec(_SELECTED, copy.move, creates_target=True),  # RFC 6851
    "UID MOVE": Spec(_SELECTED, copy.uid_move, creates_target=True),
}
