"""Our wire texts beside Dovecot's (data/README says how they were made)."""

import json
from pathlib import Path

import pytest

from posthouse.protocol.message.envelope import envelope
from posthouse.protocol.message.header import header_end
from posthouse.protocol.message.structure import structures
from tests.protocol.message.data.messages import MESSAGES
from tests.protocol.message.wiretext import read

GOLDEN = json.loads((Path(__file__).parent / "data/dovecot.json").read_text())


@pytest.mark.parametrize("name", MESSAGES)
def test_texts_mean_what_dovecot_says(name: str) -> None:
    content = MESSAGES[name].replace(b"\n", b"\r\n")
    golden = {item: read(text.encode("latin-1")) for item, text in GOLDEN[name].items()}
    body, bodystructure = structures(content)
    assert read(envelope(content[: header_end(content)])) == golden["ENVELOPE"]
    assert read(body) == golden["BODY"]
    assert read(bodystructure) == golden["BODYSTRUCTURE"]
