import os
from pathlib import Path

import pytest

from posthouse.store.maildir.textfiles import read_text, write_text


def test_a_write_that_takes_half_of_it_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: whole(descriptor, data[: max(1, len(data) // 2)]))
    path = str(tmp_path / "dovecot-keywords")
    write_text(path, "0 $Forwarded\n1 Später\n")
    assert read_text(path) == "0 $Forwarded\n1 Später\n"
