"""Ask Debian's imapd about the messages and write dovecot.json (see README)."""

import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.protocol.message.data.messages import MESSAGES

HERE = Path(__file__).parent
NOBODY = 65534
CONFIGURATION = """
base_dir = {0}/run
state_dir = {0}/run
log_path = {0}/log
mail_location = maildir:{0}/Maildir
mail_uid = 65534
mail_gid = 65534
first_valid_uid = 0
first_valid_gid = 0
ssl = no
stats_writer_socket_path =
mail_home = {0}/home
"""


def responses(octets: bytes) -> list[bytes]:
    found = []
    position = 0
    while position < len(octets):
        start = position
        while True:
            end = octets.index(b"\r\n", position)
            literal = re.search(rb"\{(\d+)\}$", octets[position:end])
            position = end + 2
            if literal is None:
                break
            position += int(literal[1])
        found.append(octets[start : position - 2])
    return found


def main() -> None:
    root = Path(tempfile.mkdtemp(prefix="golden"))
    root.chmod(0o755)
    for directory in ("home", "Maildir/cur", "Maildir/new", "Maildir/tmp"):
        (root / directory).mkdir(parents=True)
    for number, message in enumerate(MESSAGES.values()):
        (root / f"Maildir/cur/{1000000000 + number}.M1P1.host:2,S").write_bytes(message)
    (root / "dovecot.conf").write_text(CONFIGURATION.format(root))
    subprocess.run(["chown", "-R", str(NOBODY), root], check=True)
    answer = subprocess.run(
        ["/usr/lib/dovecot/imap", "-c", root / "dovecot.conf"],
        input=b"a SELECT INBOX\r\nb FETCH 1:* (ENVELOPE)\r\nc FETCH 1:* (BODY)\r\n"
        b"d FETCH 1:* (BODYSTRUCTURE)\r\ne LOGOUT\r\n",
        stdout=subprocess.PIPE,
        env={"USER": "nobody", "HOME": str(root / "home")},
        check=True,
    ).stdout
    golden: dict[str, dict[str, str]] = {name: {} for name in MESSAGES}
    names = list(MESSAGES)
    for line in responses(answer):
        match = re.match(rb"\* (\d+) FETCH \(([A-Z]+) (.*)\)\Z", line, re.DOTALL)
        if match:
            golden[names[int(match[1]) - 1]][match[2].decode()] = match[3].decode("latin-1")
    (HERE / "dovecot.json").write_text(json.dumps(golden, indent=1) + "\n")
    shutil.rmtree(root)


if __name__ == "__main__":
    main()
