"""`dovecot-keywords` of one folder: which keyword each letter a to z stands for. Shared with Dovecot, so it is re-read
when it changed and written under Dovecot's lock."""

import os
from typing import Final

from posthouse.store.maildir.names import LETTER_OF, LETTERS, MAX_KEYWORDS
from posthouse.store.maildir.textfiles import dotlock, read_text, write_text
from posthouse.store.rows import interned

FILE: Final = "dovecot-keywords"
_LOCK_OF: Final = "dovecot-uidlist"


def parse_keywords(text: str) -> list[str]:
    """By number; "" where a line is missing."""
    found: dict[int, str] = {}
    for line in text.split("\n"):
        number, space, keyword = line.rstrip("\r").partition(" ")
        if (
            not space
            or not number.isascii()
            or not number.isdecimal()
            or len(number) > 2
            or int(number) >= MAX_KEYWORDS
        ):
            continue
        if keyword and keyword.isascii() and keyword.isprintable() and not set(keyword) & set('(){ %*"\\]'):
            found.setdefault(int(number), keyword)
    return [found.get(number, "") for number in range(max(found, default=-1) + 1)]


class Keywords:
    """Letters to flags and back, for one folder."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._names: list[str] = []
        self._stamp: tuple[int, int] | None = None
        self._flags_of: dict[str, frozenset[str]] = {}
        self._letters_of: dict[frozenset[str], tuple[str, frozenset[str]]] = {}
        self.reload()

    def names(self) -> list[str]:
        return [name for name in self._names if name]

    def reload(self) -> bool:
        """Read the file if it is another one than last time."""
        path = f"{self._directory}/{FILE}"
        try:
            status = os.stat(path)
        except FileNotFoundError:
            return False
        stamp = (status.st_mtime_ns, status.st_ino)
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        names = parse_keywords(read_text(path) or "")
        if names == self._names:
            return False
        self._names = names
        self._flags_of.clear()
        self._letters_of.clear()
        return True

    def flags(self, letters: str) -> frozenset[str]:
        """Letters that mean nothing to us stand for nothing."""
        known = self._flags_of.get(letters)
        if known is None:
            known = self._flags_of[letters] = self._translate(letters)
        return known

    def _translate(self, letters: str) -> frozenset[str]:
        if any("a" <= letter <= "z" and not self._name(letter) for letter in letters):
            self.reload()
        flags = {LETTERS[letter] for letter in letters if letter in LETTERS}
        flags.update(name for letter in letters if "a" <= letter <= "z" and (name := self._name(letter)))
        return interned(frozenset(flags))

    def _name(self, letter: str) -> str:
        number = ord(letter) - 97
        return self._names[number] if number < len(self._names) else ""

    def letters(self, flags: frozenset[str]) -> tuple[str, frozenset[str]]:
        """The letters in order, and the keywords that have none (more than 26, or the file cannot be written now)."""
        known = self._letters_of.get(flags)
        if known is not None:
            return known
        wanted = [flag for flag in flags if not flag.startswith("\\")]
        missing = [keyword for keyword in wanted if keyword not in self._names]
        if missing and len(self._names) < MAX_KEYWORDS:
            self._assign(sorted(missing))
        letters = [LETTER_OF[flag] for flag in flags if flag in LETTER_OF]
        letters += [chr(97 + self._names.index(keyword)) for keyword in wanted if keyword in self._names]
        left = frozenset(keyword for keyword in wanted if keyword not in self._names)
        result = ("".join(sorted(letters)), left)
        if not left or len(self._names) >= MAX_KEYWORDS:
            self._letters_of[flags] = result
        return result

    def _assign(self, missing: list[str]) -> None:
        with dotlock(f"{self._directory}/{_LOCK_OF}") as locked:
            if not locked:
                return
            self.reload()
            names = self._names + [keyword for keyword in missing if keyword not in self._names]
            names = names[:MAX_KEYWORDS]
            path = f"{self._directory}/{FILE}"
            write_text(path, "".join(f"{number} {name}\n" for number, name in enumerate(names) if name))
            self._names = names
            self._flags_of.clear()
            self._letters_of.clear()
            status = os.stat(path)
            self._stamp = (status.st_mtime_ns, status.st_ino)
