"""Sources of lookup tables: hash, aliases, cidr, regexp, pcre, inline.

What holds: every text is read, wrong lines are warned about; patterns compile or are skipped; keys are folded; a
network table gives the same with and without its index. Patterns are not run: how long one takes is its author's.
"""

from fuzz.target import Target
from posthouse.tables import cidr, literal, pattern
from posthouse.tables.source import logical_lines, parse_aliases, parse_map, split_key, unquote
from posthouse.tables.table import BadTable


def check(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    warnings: list[str] = []
    lines = list(logical_lines(text))
    assert [number for number, _ in lines] == sorted({number for number, _ in lines})
    for key, value in parse_map(text, "hash:x", warnings.append).items():
        assert key == key.lower()
        assert value.strip(" \t\r\n\v\f")
        if "\n" not in key + value:
            assert split_key(f"{key} {value}") == (key, value) or '"' in key
    for name, value in parse_aliases(text, "aliases", warnings.append).items():
        assert name == name.lower()
        assert value
        assert "@" not in name
    unquote(text)
    _networks(lines, warnings)
    for translate in (pattern.translate_posix, pattern.translate_pcre):
        for rule in pattern.parse_rules(lines, translate, "regexp:x", warnings.append):
            assert all(not isinstance(piece, int) or piece <= rule.condition.pattern.groups for piece in rule.value)
    try:
        table = literal.InlineTable("inline:x", "{" + text + "}")
        table.lookup("a")
    except BadTable:
        pass


def _networks(lines: list[tuple[int, str]], warnings: list[str]) -> None:
    rules = cidr.parse_rules(lines, "x", warnings.append)
    fast = cidr.Rules(rules)
    for rule in rules[:20]:
        version, shift, base = rule.network
        address = base << shift
        assert cidr.contains(rule.network, version, address)
        slow = next(
            (
                one.value
                for one in rules
                if cidr.contains(one.network, version, address) != one.negated
                and all(cidr.contains(network, version, address) != negated for network, negated in one.inside)
            ),
            None,
        )
        assert fast.match(version, address) == slow


TARGET = Target(
    check,
    seeds=(
        b"# hash\nuser@example.org  other@example.net\n  continued\n\"a b\"@x y\nDUP a\ndup b\n",
        b"root: admin, \"|cmd\"\nadmin:\n  x\n\"q:q\": z\n@bad: x\n",
        b"192.0.2.0/24 REJECT\nif 2001:db8::/32\n!2001:db8:1::/48 OK\nendif\n[::1]/128 x\n10.0.0.1 y\n0.0.0.0/0 z\n",
        b"/^(a|b)@([[:alnum:].-]+)$/i $1@${2} $$\nif /x/\n!/y/ REJECT\nendif\n",
        b"/\\Qa.b\\E(?<n>x)[^]\\]a-]*+\\x{41}(?i:y)$/x v\n/\\bx\\K/ v\n/(?P<a>.)(?=\\1)/ $1\n",
        b"a=b, {c = d e}, f=g",
    ),
    words=(
        b"/", b"!", b"if ", b"endif", b"\n", b"\n ", b"[", b"]", b"[:alpha:]", b"[[:digit:]-]", b"[.a.]", b"\\",
        b"\\Q", b"\\E", b"\\x{", b"\\x{110000}", b"(?", b"(?<", b"(?P=", b"(?|", b"(?#", b"(*", b"{1,2}", b"{,}",
        b"*+", b"++", b"|", b"(", b")", b"^", b"$", b"$1", b"${99}", b"\\1", b"\\g{1}", b"imsxAEUX", b" OK",
        b"192.0.2.1/32", b"::/0", b"=", b"{", b"}", b",", b"\"", b":", b"#", b"\0", b"\xff", b"\xc3\xa4",
        b"\xed\xa0\x80",
    ),
    max_octets=4000,
)  # fmt: skip
