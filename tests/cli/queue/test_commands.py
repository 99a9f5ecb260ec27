"""The queue's commands against a whole running system."""

import json
import subprocess
import sys
from pathlib import Path

from tests.running import RunningSystem

BIN = Path(sys.executable).parent


def sendmail(system: RunningSystem, *arguments: str, text: str) -> None:
    done = subprocess.run(
        [str(BIN / "sendmail"), "-C", system.configuration, *arguments],
        input=text,
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def queue(system: RunningSystem) -> list[dict[str, object]]:
    return [json.loads(line) for line in system.command("postqueue", "-j").stdout.splitlines()]


def test_a_message_from_sendmail_arrives(sandbox: RunningSystem) -> None:
    sendmail(
        sandbox, "-t", "-oi", text="To: alice@example.test\nSubject: from-sendmail\nBcc: bob@example.test\n\nhi\n.\n"
    )
    content = sandbox.wait_for_message("from-sendmail")
    assert b"from userid" in content
    assert b"\n.\n" in content
    assert b"Bcc" not in content
    sandbox.wait_for_message("from-sendmail", "bob")


def test_hold_list_read_release_and_delete(sandbox: RunningSystem) -> None:
    assert sandbox.command("mailq").stdout == "Mail queue is empty\n"
    # A host that refuses connections: the message stays.
    sendmail(sandbox, "-f", "alice@example.test", "-N", "never", "x@[127.0.0.2]", text="Subject: stays\n\nhere\n")
    sandbox.wait_until(lambda: [entry["queue_name"] for entry in queue(sandbox)] == ["deferred"], "the queue")
    (entry,) = queue(sandbox)
    queue_id = str(entry["queue_id"])
    assert entry["sender"] == "alice@example.test"
    sandbox.command("postsuper", "-h", queue_id)
    listing = sandbox.command("postqueue", "-p").stdout
    assert f"{queue_id}!" in listing
    assert listing.endswith("in 1 Request.\n")
    shown = sandbox.command("postcat", "-q", queue_id).stdout
    assert "sender: alice@example.test" in shown
    assert "Subject: stays" in shown
    assert "\n\nhere\n" in shown
    assert sandbox.command("postcat", "-bq", queue_id).stdout == "here\n"
    assert "here" not in sandbox.command("postcat", "-hq", queue_id).stdout
    sandbox.command("postsuper", "-H", queue_id)
    sandbox.wait_until(lambda: [entry["queue_name"] for entry in queue(sandbox)] == ["deferred"], "the queue")
    sandbox.command("postqueue", "-i", queue_id)
    sandbox.command("postqueue", "-s", "example.org")
    done = sandbox.command("postsuper", "-d", "ALL")
    assert "Deleted: 1 message" in done.stderr
    assert sandbox.command("mailq").stdout == "Mail queue is empty\n"
    assert sandbox.command("postcat", "-q", queue_id, check=False).returncode == 69


def test_ids_from_standard_input(sandbox: RunningSystem) -> None:
    sendmail(sandbox, "-N", "never", "-f", "bob@example.test", "x@[127.0.0.2]", text="Subject: one\n\n1\n")
    sandbox.wait_until(lambda: len(queue(sandbox)) == 1, "the queue")
    ids = "".join(f"{entry['queue_id']}\n" for entry in queue(sandbox))
    done = subprocess.run(
        [str(BIN / "postsuper"), "-c", sandbox.configuration, "-d", "-"],
        input=ids,
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert queue(sandbox) == []


def test_newaliases_and_flush_succeed(sandbox: RunningSystem) -> None:
    sandbox.command("newaliases")
    sandbox.command("sendmail", "-q")
    sandbox.command("postqueue", "-f")


def test_the_stopped_systems_queue_is_read_from_the_spool(new_sandbox: "object") -> None:
    assert callable(new_sandbox)
    system: RunningSystem = new_sandbox()
    sendmail(system, "-f", "alice@example.test", "x@[127.0.0.2]", text="Subject: stays\n\nhere\n")
    system.wait_until(lambda: [entry["queue_name"] for entry in queue(system)] == ["deferred"], "the queue")
    (entry,) = queue(system)
    system.stop()
    sendmail(system, "-f", "alice@example.test", "alice@example.test", text="Subject: later\n\n\n")
    done = system.command("postqueue", "-j")
    assert "accessing queue directly" in done.stderr
    found = {one["queue_id"]: one["queue_name"] for one in map(json.loads, done.stdout.splitlines())}
    assert found.pop(entry["queue_id"]) == "deferred"
    assert list(found.values()) == ["maildrop"]
    assert "Subject: stays" in system.command("postcat", "-q", str(entry["queue_id"])).stdout
    system.start()
    system.wait_for_message("later")
