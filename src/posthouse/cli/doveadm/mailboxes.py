"""doveadm mailbox, quota and force-resync."""

from collections.abc import Callable, Sequence
from typing import Final

from posthouse.cli.doveadm.call import Call, Rows, Session
from posthouse.cli.doveadm.endings import EX_DATAERR, EX_NOHOST, EX_USAGE, OK, Ended, Fatal
from posthouse.cli.doveadm.formatters import Column
from posthouse.cli.doveadm.imap import Imap, Refused, wire_name
from posthouse.cli.doveadm.query import fits_mailbox
from posthouse.protocol.imap.mailbox_name import BadMailboxName, decode_mailbox_name, encode_mailbox_name
from posthouse.runtime.schema import MailboxFacts

SEPARATOR: Final = "."
STATUS: Final[dict[str, Callable[[MailboxFacts], int | str]]] = {
    "messages": lambda facts: facts.messages,
    "recent": lambda facts: facts.recent,
    "uidnext": lambda facts: facts.uid_next,
    "uidvalidity": lambda facts: facts.uid_validity,
    "unseen": lambda facts: facts.unseen,
    "highestmodseq": lambda facts: facts.highest_modseq,
    "vsize": lambda facts: facts.size,
    "guid": lambda facts: facts.guid,
}
TOTALS: Final = ("messages", "recent", "unseen", "vsize")
"""What can be added up."""


def shown(name: str) -> str:
    """The store's name as administrators know it."""
    return name.replace("/", SEPARATOR)


def stored(name: str) -> str:
    return "INBOX" if name.upper() == "INBOX" else name.replace(SEPARATOR, "/")


def list_(call: Call) -> int:
    masks = call.arguments or ["*"]
    rows = Rows(call, "flow", [Column("mailbox", is_hidden=True)])

    def work(user: str) -> None:
        with Session.of(call, user) as imap:
            for name, attributes in imap.listed(b"LSUB" if call.has("s") else b"LIST"):
                if call.has("s") and "\\Noselect" in attributes:
                    continue
                if any(fits_mailbox(name, mask, SEPARATOR) for mask in masks):
                    rows.row(user, encode_mailbox_name(name).decode("ascii") if call.has("7") else name)

    status = call.for_each_user(work)
    rows.end()
    return status


def _each(call: Call, words: str, act: Callable[[Imap, str], object]) -> int:
    """One action on each named mailbox; one that fails does not keep the others."""
    if not call.arguments:
        raise call.refuse_usage()

    def work(user: str) -> int:
        status = OK
        with Session.of(call, user) as imap:
            for name in call.arguments:
                try:
                    act(imap, name)
                except Refused as error:
                    status = _told(call, user, words % name, name, error)
        return status

    return call.for_each_user(work)


def _told(call: Call, user: str, words: str, name: str, error: Refused) -> int:
    text = error.text
    if error.status == EX_NOHOST:
        text = f"Mailbox doesn't exist: {name}"
    elif error.status == EX_DATAERR:
        text = "Mailbox already exists"
    call.say(f"doveadm({user}): Error: {words}: {text}")
    return error.status


def _subscribed(call: Call, imap: Imap, name: str) -> None:
    if call.has("s"):
        imap.command(b"SUBSCRIBE", wire_name(name))


def create(call: Call) -> int:
    def act(imap: Imap, name: str) -> None:
        imap.command(b"CREATE", wire_name(name))
        _subscribed(call, imap, name)

    return _each(call, "Can't create mailbox %s", act)


def delete(call: Call) -> int:
    def act(imap: Imap, name: str) -> None:
        names = [name]
        if call.has("r"):
            below = [one for one, _ in imap.listed(b"LIST") if one.startswith(name + SEPARATOR)]
            names = [*sorted(below, reverse=True), name]
        for one in names:
            if call.has("e") and not _is_empty(imap, one):
                raise Refused("", f"Mailbox isn't empty: {one}")
            imap.command(b"DELETE", wire_name(one))
            if call.has("s"):
                imap.command(b"UNSUBSCRIBE", wire_name(one))

    return _each(call, "Can't delete mailbox %s", act)


def _is_empty(imap: Imap, name: str) -> bool:
    return any(line.endswith(b"(MESSAGES 0)") for line in imap.command(b"STATUS", wire_name(name), b"(MESSAGES)"))


def rename(call: Call) -> int:
    if len(call.arguments) != 2:
        raise call.refuse_usage()
    old, new = call.arguments

    def work(user: str) -> int:
        with Session.of(call, user) as imap:
            try:
                imap.command(b"RENAME", wire_name(old), wire_name(new))
                if call.has("s"):
                    imap.command(b"SUBSCRIBE", wire_name(new))
                    imap.command(b"UNSUBSCRIBE", wire_name(old))
            except Refused as error:
                return _told(call, user, f"Can't rename mailbox {old} to {new}", old, error)
        return OK

    return call.for_each_user(work)


def subscribe(call: Call) -> int:
    return _each(call, "Can't subscribe mailbox %s", lambda imap, name: imap.command(b"SUBSCRIBE", wire_name(name)))


def unsubscribe(call: Call) -> int:
    return _each(call, "Can't unsubscribe mailbox %s", lambda imap, name: imap.command(b"UNSUBSCRIBE", wire_name(name)))


def status(call: Call) -> int:
    if len(call.arguments) < 2:
        raise call.refuse_usage()
    wanted, masks = call.arguments[0].split(), call.arguments[1:]
    fields = [one for one in STATUS if one in wanted or "all" in wanted]
    unknown = next((one for one in wanted if one not in STATUS and one != "all"), "")
    if unknown == "firstsaved":
        raise Ended(EX_USAGE, "Fatal: status field firstsaved is not supported by Posthouse")
    if unknown or not wanted:
        raise Ended(EX_USAGE, f"Fatal: Unknown status field: {unknown}")
    is_total = call.has("t")
    if is_total:
        fields = [one for one in fields if one in TOTALS]
    columns = [Column(one) for one in fields]
    rows = Rows(call, "flow", columns if is_total else [Column("mailbox", is_hidden=True), *columns])

    def work(user: str) -> None:
        totals = dict.fromkeys(fields, 0)
        for facts in _facts(call, user, masks):
            values = [STATUS[one](facts) for one in fields]
            if is_total:
                for one, value in zip(fields, values, strict=True):
                    totals[one] += int(value)
            else:
                rows.row(user, shown(facts.name), *map(str, values))
        if is_total:
            rows.row(user, *map(str, totals.values()))

    ended = call.for_each_user(work)
    rows.end()
    return ended


def _facts(call: Call, user: str, masks: Sequence[str]) -> list[MailboxFacts]:
    """Masks without wildcards are asked for alone: opening all mailboxes takes time."""
    names = None if any(set(mask) & set("*%") for mask in masks) else tuple(map(stored, masks))
    found = call.system.inspect(user, names)
    if found.missing:
        name = shown(found.missing[0])
        raise Ended(EX_NOHOST, f"doveadm({user}): Error: Mailbox {name}: Mailbox doesn't exist: {name}")
    return [one for one in found.mailboxes if any(fits_mailbox(shown(one.name), mask, SEPARATOR) for mask in masks)]


def path(call: Call) -> int:
    if len(call.arguments) != 1:
        raise call.refuse_usage()
    if call.value("t", "mailbox") not in ("mailbox", "dir"):
        raise Fatal(f"mailbox path -t {call.value('t')} is not supported by Posthouse", EX_USAGE)
    rows = Rows(call, "flow", [Column("path", is_hidden=True)])

    def work(user: str) -> None:
        for facts in _facts(call, user, call.arguments):
            rows.row(user, facts.path)

    ended = call.for_each_user(work)
    rows.end()
    return ended


def mutf7(call: Call) -> int:
    """Asks nobody. -7 makes UTF-8 of modified UTF-7; without it, the other way round."""
    if not call.arguments:
        raise call.refuse_usage()
    for name in call.arguments:
        try:
            if call.has("7"):
                out = decode_mailbox_name(name.encode("utf-8", "surrogateescape"))
            else:
                out = encode_mailbox_name(name).decode("ascii")
        except BadMailboxName as error:
            raise Fatal(f"Mailbox name not valid mUTF-7: {name}") from error
        call.out.write(f"{out}\n")
    return OK


# ── quota, force-resync ──


def quota_get(call: Call) -> int:
    columns = [
        Column("Quota name", "root"),
        Column("Type", "type"),
        Column("Value", "value", is_right=True),
        Column("Limit", "limit", is_right=True),
        Column("%", "percent", is_right=True),
    ]
    rows = Rows(call, "table", columns)

    def work(user: str) -> None:
        found = call.system.inspect(user, None)
        kilobytes, limit = -(-found.quota_used // 1024), found.quota_limit // 1024
        percent = found.quota_used * 100 // found.quota_limit if found.quota_limit else 0
        rows.row(user, "User quota", "STORAGE", str(kilobytes), str(limit) if found.quota_limit else "-", str(percent))
        rows.row(user, "User quota", "MESSAGE", str(sum(one.messages for one in found.mailboxes)), "-", "0")

    status = call.for_each_user(work)
    rows.end()
    return status


def quota_recalc(call: Call) -> int:
    def work(user: str) -> None:
        call.system.inspect(user, (), recount=True)

    return call.for_each_user(work)


def force_resync(call: Call) -> int:
    """Every file is looked at again; with the files as the truth there is nothing else to repair."""
    if len(call.arguments) != 1:
        raise call.refuse_usage()

    def work(user: str) -> None:
        names = tuple(stored(one.name) for one in _facts(call, user, call.arguments))
        call.system.inspect(user, names, rescan=True)

    return call.for_each_user(work)
