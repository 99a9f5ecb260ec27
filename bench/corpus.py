"""A deterministic mailbox: messages of many shapes, about 4.9 KB each."""

import base64
import random
import time
from collections.abc import Iterator
from pathlib import Path

_WORDS = [
    "account",
    "agenda",
    "answer",
    "budget",
    "calendar",
    "change",
    "copy",
    "customer",
    "date",
    "delay",
    "delivery",
    "design",
    "draft",
    "error",
    "figure",
    "file",
    "form",
    "invoice",
    "letter",
    "list",
    "mail",
    "meeting",
    "message",
    "minute",
    "note",
    "number",
    "offer",
    "office",
    "order",
    "page",
    "paper",
    "plan",
    "point",
    "price",
    "project",
    "question",
    "reason",
    "release",
    "reply",
    "report",
    "request",
    "result",
    "review",
    "schedule",
    "server",
    "signature",
    "table",
    "team",
    "test",
    "text",
    "time",
    "train",
    "travel",
    "update",
    "version",
    "visit",
    "week",
    "work",
    "yesterday",
    "größe",
    "señor",
    "Привет",
    "日本語",
]
_NAMES = [
    "Ada",
    "Basil",
    "Chloe",
    "Dario",
    "Elif",
    "Femi",
    "Greta",
    "Hugo",
    "Ines",
    "Jonas",
    "Kirsi",
    "Liam",
    "Mina",
    "Noor",
    "Otto",
    "Pia",
    "Quentin",
    "Rosa",
]


def messages(count: int) -> Iterator[bytes]:
    """CRLF. The same ones every time."""
    dice = random.Random(20_000)
    for number in range(count):
        yield _message(number, dice)


def fill_maildir(maildir: Path, count: int) -> None:
    """As if they had been there for long: in cur/, with the size in the name, two thirds of them read."""
    for number, message in enumerate(messages(count)):
        text = message.replace(b"\r\n", b"\n")
        flags = "S" if number % 3 else ""
        name = f"{1_700_000_000 + number}.M{number}P1.bench,S={len(text)},W={len(message)}:2,{flags}"
        (maildir / "cur" / name).write_bytes(text)


def _person(dice: random.Random) -> str:
    name = dice.choice(_NAMES)
    return f"{name} Example <{name.lower()}@site{dice.randrange(50)}.example>"


def _paragraphs(dice: random.Random, octets: int) -> str:
    lines, size = [], 0
    while size < octets:
        line = " ".join(dice.choices(_WORDS, k=9))
        lines.append(line)
        size += len(line) + 2
    return "\r\n".join(lines) + "\r\n"


def _message(number: int, dice: random.Random) -> bytes:
    date = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(1_577_836_800 + number * 1237))
    size = max(300, min(60_000, int(dice.lognormvariate(0, 0.8) * 2900)))
    header = [
        f"Received: from mx{hop}.site.example (mx{hop}.site.example [192.0.2.{hop}])\r\n\tby in.example.test with"
        f" ESMTPS id {dice.getrandbits(40):010X}\r\n\tfor <u00@example.test>; {date}"
        for hop in range(dice.randrange(2, 5))
    ]
    header += [
        f"From: {_person(dice)}",
        "To: " + ", ".join(_person(dice) for _ in range(dice.choice((1, 1, 1, 2, 3)))),
        "Subject: " + " ".join(dice.choices(_WORDS[:50], k=dice.randrange(2, 8))),
        f"Date: {date}",
        f"Message-ID: <{number}.{dice.getrandbits(32):08x}@site.example>",
        "MIME-Version: 1.0",
    ]
    if number and dice.random() < 0.45:
        header.append(f"In-Reply-To: <{dice.randrange(number)}.0@site.example>")
    boundary = f"=_{dice.getrandbits(64):016x}"
    kind = dice.random()
    if kind < 0.5:
        header.append("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit")
        body = _paragraphs(dice, size)
    elif kind < 0.8:
        header.append(f'Content-Type: multipart/alternative; boundary="{boundary}"')
        text = _paragraphs(dice, size // 2)
        html = "<html><body>" + text.replace("\r\n", "<br>\r\n") + "</body></html>\r\n"
        body = _part(boundary, "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit", text)
        body += _part(boundary, "Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit", html)
        body += f"--{boundary}--\r\n"
    else:
        header.append(f'Content-Type: multipart/mixed; boundary="{boundary}"')
        file = base64.encodebytes(dice.randbytes(size * 2 // 3)).decode().replace("\n", "\r\n")
        body = _part(boundary, "Content-Type: text/plain; charset=utf-8", _paragraphs(dice, size // 4))
        kind_of_file = f'Content-Type: application/octet-stream; name="f{number}.bin"'
        body += _part(boundary, f"{kind_of_file}\r\nContent-Transfer-Encoding: base64", file)
        body += f"--{boundary}--\r\n"
    return ("\r\n".join(header) + "\r\n\r\n" + body).encode()


def _part(boundary: str, header: str, body: str) -> str:
    return f"--{boundary}\r\n{header}\r\n\r\n{body}\r\n"
