"""Tables that stand in main.cf itself: inline, static, fail."""

from posthouse.tables.domains import domains_of
from posthouse.tables.source import unquote
from posthouse.tables.table import BadTable, Table, TableError


def split_list(text: str, separators: str = ", \t\r\n") -> list[str]:
    """Words of a list; text in {braces} stays together and keeps them. Quotes protect separators inside braces only."""
    words: list[str] = []
    depth = 0
    word: list[str] = []
    for character in text:
        if depth == 0 and character in separators:
            if word:
                words.append("".join(word))
                word = []
            continue
        depth += (character == "{") - (character == "}")
        if depth < 0:
            raise BadTable(f"'}}' without '{{' in {text!r}")
        word.append(character)
    if depth:
        raise BadTable(f"'{{' without '}}' in {text!r}")
    if word:
        words.append("".join(word))
    return words


def unbraced(text: str) -> str:
    """The inside of {…}, trimmed; other text as it is."""
    stripped = text.strip()
    return stripped[1:-1].strip() if stripped.startswith("{") and stripped.endswith("}") else stripped


class InlineTable(Table):
    """inline:{key=value, {key = text with spaces}}."""

    def __init__(self, name: str, specification: str) -> None:
        super().__init__(name)
        if not (specification.startswith("{") and specification.endswith("}")):
            raise BadTable(f'bad syntax: "{name}"; expected inline:{{key=value, ...}}')
        self._entries: dict[str, str] = {}
        for word in split_list(specification[1:-1]):
            key, equals, value = unbraced(word).partition("=")
            key = key.strip()
            if not equals or not key:
                raise BadTable(f'bad syntax: "{word}" in "{name}"; expected key=value')
            self._entries.setdefault(key.lower(), value.strip())
        self._domains = domains_of(self._entries)

    def lookup(self, key: str) -> str | None:
        return self._entries.get(key.lower())

    def knows_addresses_in(self, domain: str) -> bool:
        return domain in self._domains


class StaticTable(Table):
    """static:value and static:{text with spaces}: every key has this value."""

    def __init__(self, name: str, specification: str) -> None:
        super().__init__(name)
        self._value = unbraced(specification)

    def lookup(self, key: str) -> str | None:  # noqa: ARG002 - every key
        return self._value

    def knows_addresses_in(self, domain: str) -> bool:  # noqa: ARG002 - every domain
        return False


class FailTable(Table):
    """fail:reason: every lookup fails, to try what a broken database does."""

    def __init__(self, name: str, specification: str) -> None:
        super().__init__(name)
        self._reason = unquote(specification)

    def lookup(self, key: str) -> str | None:  # noqa: ARG002 - every key
        raise TableError(f"{self.name}: {self._reason or 'fails on purpose'}")
