"""Texts of main.cf, master.cf and dovecot.conf, and the expression language.

What holds: every text is read, problems are collected with their place; what an editor of ours writes is read as what
was meant and leaves everything else alone; expansion ends, with BadValue at worst.
"""

from typing import Final

import posthouse.config.parameters  # noqa: F401 - fills the registry
from fuzz.target import Target
from posthouse.config import dovecotconf, editing, known, maincf, mastercf
from posthouse.config.configuration import Problem
from posthouse.config.expansion import MAXIMAL_LENGTH, expand, names_in
from posthouse.config.parameter import MAIN, BadValue, Settings

known.complete()
_FILES: Final = 30


def check(data: bytes) -> None:
    text = maincf.decode(data)
    _main(text)
    _master(text)
    _dovecot(text)


def _main(text: str) -> None:
    problems: list[Problem] = []
    chosen = maincf.latest(maincf.parse(text, "main.cf", problems), problems)
    assert all(problem.at.startswith("main.cf:") for problem in problems)
    values = {name: setting.value for name, setting in chosen.items()}
    assert all(name and not name.isspace() and len(name.split()) == 1 for name in values)
    for value in values.values():
        names_in(value)
        try:
            assert len(expand(value, values.get)) <= 2 * MAXIMAL_LENGTH + len(text)
        except BadValue:
            pass
    settings = Settings(MAIN, values, {})
    for name in values:
        if (parameter := MAIN.params.get(name)) is not None:
            try:
                settings[parameter]
            except BadValue:
                pass
    edited = editing.set_main(text, {"mydomain": "changed.example", "new_one": "1"})
    after = {one.name: one.value for one in maincf.parse(edited, "main.cf", [])}
    assert after == {**values, "mydomain": "changed.example", "new_one": "1"}
    removed = maincf.parse(editing.remove_main(edited, {"new_one"}), "main.cf", [])
    del after["new_one"]
    assert {one.name: one.value for one in removed} == after
    hidden = editing.comment_out_main(text, set(values))
    assert not maincf.parse(hidden, "main.cf", [])


def _master(text: str) -> None:
    problems: list[Problem] = []
    entries = mastercf.parse(text, "master.cf", problems)
    assert all(problem.at.startswith("master.cf:") for problem in problems)
    assert len({(entry.endpoint, entry.kind) for entry in entries}) == len(entries)
    for entry in entries[:5]:
        written = editing.render(entry)
        again = mastercf.parse(written, "master.cf", [])
        if _can_be_written(entry.options, entry.arguments):
            assert len(again) == 1
            assert again[0].options == entry.options
            assert (again[0].endpoint, again[0].kind, again[0].command) == (entry.endpoint, entry.kind, entry.command)
            assert again[0].arguments == entry.arguments


def _can_be_written(options: dict[str, str], arguments: tuple[str, ...]) -> bool:
    words = (*options, *options.values(), *arguments)
    return all(word and not set(word) & set("{}#") and not word.startswith("-") for word in words)


def _dovecot(text: str) -> None:
    problems: list[Problem] = []
    included = 0

    def read(path: str) -> bytes:
        nonlocal included
        included += 1
        if included > _FILES or "x" in path:
            raise FileNotFoundError(2, "No such file", path)
        return b"a = $a b\nblock one {\n  c = 1\n}\n"

    if "*" in text or "?" in text or "[" in text:
        text = text.replace("!include", "#include")  # a pattern would look into real directories
    parser = dovecotconf.Parser(problems, read, {"mail_plugins": "quota"}.get, {"HOME": "/root"})
    parser.parse_text(text, "dovecot.conf")
    values = {name: setting.value for name, setting in parser.settings.items()}
    assert all("\0" not in value for value in values.values())
    for kind in ("passdb", "service", "namespace", "protocol", "service/auth/unix_listener"):
        for name, inside in dovecotconf.blocks(values, kind):
            assert all(f"{kind}/" in one for one in values) or name is not None
            assert all(value in values.values() for value in inside.values())
    dovecotconf.for_protocol(values, "imap")


TARGET = Target(
    check,
    seeds=(
        b"# main\nmyhostname = mail.example.org\nmydomain=example.org\nmydestination = $myhostname,\n  # no\n  localhost\n\nx =\n",
        b"a = ${b?{yes}:{no}} ${{$c} >= {3.6} ? {x}:{y}} $$ $(d) ${e:f}\nb = $a\nc = 1 2\n",
        b"smtp inet n - y - - smtpd\n  -o syslog_name=x -o { a = b c }\n  -v\nmaildrop unix - n n - - pipe\n  flags=DRhu user=v argv=/m -d ${r}\n",
        b"protocols = imap\nservice imap-login {\n  inet_listener imap {\n    port = 0\n  }\n}\npassdb {\n driver = sql\n}\n!include_try x\n",
        b"protocol imap {\n  mail_plugins = $mail_plugins a # c\n}\nssl_cert = </etc/x\nq = \"a \\\" b\" \nl = a \\\n  b\nnamespace in/box {\n s = '\n}\n!include y\n",
    ),
    words=(
        b" = ", b"=", b"$", b"${", b"}", b"$(", b")", b"?", b":", b"{", b"$$", b"#", b"\n ", b"\n", b"\r", b"\t",
        b"$a", b"${a?{", b"}:{", b"{a} == {b}", b" -o ", b"-o {", b"smtp inet n - n - - smtpd", b"unix", b"argv=",
        b"level", b">=", b"!include ", b"!include_try ", b"\\\n", b"\"", b"'", b"<", b"passdb {\n", b"}\n",
        b"protocol !imap {", b"$ENV:HOME", b"\0", b"\xff", b"\xef\xbb\xbf", b"\xc2\xa0", b"\x0c", b"\x1c",
        b"mydomain", b"new_one", b"/",
    ),
)  # fmt: skip
