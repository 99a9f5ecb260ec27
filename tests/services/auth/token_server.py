"""An HTTP server that knows tokens, and one that remembers what it was asked."""

import contextlib
import json
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

from posthouse.runtime.certificate_files import CertificateFiles


class Asked(msgspec.Struct, frozen=True):
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


Said = tuple[int, bytes]


class HttpServer:
    """`answer` says what is answered; it may take its time."""

    def __init__(self, answer: Callable[[Asked], Said], tls: CertificateFiles | None = None) -> None:
        self.asked: list[Asked] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length", "0"))
                names = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, self.path, names, self.rfile.read(length))
                server.asked.append(asked)
                status, body = answer(asked)
                self.send_response(status)
                if status in (301, 302):
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # whom it took too long or was too much
                    self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                """Clients that go away in the middle are a part of these tests."""

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls.certificate, tls.key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self.url = f"https://localhost:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def __enter__(self) -> "HttpServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


BOB = {"active": True, "email": "Bob@example.org", "scope": "email imap", "iss": "https://op.example"}


def tokens(asked: Asked) -> Said:
    """/info?token=…, /get?token=…, /auth with Authorization, /post with a form."""
    shown = asked.target.partition("token=")[2]
    if asked.target.startswith("/auth"):
        shown = asked.headers.get("authorization", "").removeprefix("Bearer ")
    elif asked.target.startswith("/post"):
        if asked.headers.get("authorization") != "Basic Y2xpZW50OnNlY3JldA==":
            return 401, b"{}"
        shown = asked.body.decode().partition("token=")[2]
    match shown:
        case "good":
            return 200, json.dumps(BOB).encode()
        case "info-only":
            return 200, json.dumps({"active": True, "scope": "email imap"}).encode()
        case "other":
            return 200, json.dumps({**BOB, "email": "ann@example.org"}).encode()
        case "narrow":
            return 200, json.dumps({**BOB, "scope": "email"}).encode()
        case "stranger":
            return 200, json.dumps({**BOB, "iss": "https://evil.example"}).encode()
        case "inactive":
            return 200, json.dumps({**BOB, "active": False}).encode()
        case "nobodys":
            return 200, json.dumps({"active": True, "scope": "email imap", "iss": "https://op.example"}).encode()
        case "redirect":
            return 302, b""
        case "broken":
            return 500, b"{}"
        case "rubbish":
            return 200, b"<html>"
        case "list":
            return 200, b"[1]"
        case "deep":
            return 200, b"[" * 100_000
        case "huge":
            return 200, b" " * (1 << 20)
        case "slow":
            time.sleep(1)
            return 200, json.dumps(BOB).encode()
        case _:
            return (200, b'{"active": false}') if asked.target.startswith("/post") else (401, b"{}")
