"""Dovecot's auth_policy: a server (weakforced) is asked before and after a login, and told how it ended.

It says 0 (go on), a number of seconds to wait, or a negative number: refuse. It learns a few bits of a keyed hash of
the password, enough to tell one wrong password from many. While it is away logins go on without it, or wait with
auth_policy_reject_on_fail: what it would have said is unknown.
"""

import asyncio
import hashlib
import json
import secrets
import ssl
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

import msgspec

from posthouse.auth.http_client import BadUrl, HttpClient, HttpError, Url
from posthouse.auth.policy import Attempt, Decision
from posthouse.core.variables import LOGIN_VARIABLES, BadTemplate, Template

VARIABLES: Final = {
    **LOGIN_VARIABLES,
    "requested_username": "requested_username",
    "hashed_password": "hashed_password",
    "client_id": "client_id",
}
"""`client_id` is what an IMAP client says with ID; auth does not hear of it, so it is empty."""


class BadPolicy(ValueError):
    """Settings that cannot be used; the text says which."""


class PolicySettings(msgspec.Struct, frozen=True):
    url: str
    api_header: str
    timeout_s: float
    hash_name: str
    nonce: str
    bits: int
    attributes: str
    rejects_on_fail: bool
    checks_before: bool
    checks_after: bool
    reports: bool
    logs_only: bool
    delay_limit_s: float


class PolicyServer:
    """Answers by callback, so that its callers need not wait. `say` hears of refusals, `trouble` of a server that
    cannot be asked. Raises BadPolicy."""

    def __init__(
        self,
        settings: PolicySettings,
        *,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        say: Callable[[str], None],
        trouble: Callable[[str, str], None],
    ) -> None:
        self._settings = settings
        self._spawn = spawn
        self._say = say
        self._trouble = trouble
        # Without a nonce of the administrator's, what is sent must not be a plain hash: no other server can compare it.
        self._nonce = settings.nonce.encode() or secrets.token_bytes(16)
        self._headers = {"Content-Type": "application/json"}
        if settings.api_header:
            name, colon, value = settings.api_header.partition(":")
            if not colon or not name.strip():
                raise BadPolicy("auth_policy_server_api_header: Name: value is expected")
            self._headers[name.strip()] = value.strip()
        try:
            url = Url.parse(settings.url)
            self._templates = _templates(settings.attributes)
            hashlib.new(settings.hash_name)
        except (BadUrl, BadTemplate, ValueError) as error:
            raise BadPolicy(f"auth_policy: {error}") from error
        context = ssl.create_default_context() if url.scheme == "https" else None
        self._client = HttpClient(url, timeout_s=settings.timeout_s, context=context)
        self._sign = "&" if "?" in url.target else "?"

    def before(self, attempt: Attempt, answer: Callable[[Decision], None]) -> None:
        """Before the password is looked at."""
        if self._settings.checks_before:
            self._spawn(self._check(attempt, {}, answer))
        else:
            answer(Decision.GO_ON)

    def after(self, attempt: Attempt, *, success: bool, answer: Callable[[Decision], None]) -> None:
        if self._settings.checks_after:
            self._spawn(self._check(attempt, {"success": success, "policy_reject": False}, answer))
        else:
            answer(Decision.GO_ON)

    def report(self, attempt: Attempt, *, success: bool, policy_reject: bool) -> None:
        if self._settings.reports:
            self._spawn(self._report(attempt, {"success": success, "policy_reject": policy_reject}))

    def close(self) -> None:
        self._client.close()

    async def _check(self, attempt: Attempt, more: Mapping[str, Any], answer: Callable[[Decision], None]) -> None:
        decision, delay_s = await self._decide(attempt, more)
        if self._settings.logs_only:
            decision, delay_s = Decision.GO_ON, 0.0
        if delay_s:
            await asyncio.sleep(min(delay_s, self._settings.delay_limit_s))
        answer(decision)

    async def _decide(self, attempt: Attempt, more: Mapping[str, Any]) -> tuple[Decision, float]:
        try:
            said = await self._ask("allow", attempt, more)
            status = said.get("status")
            if not isinstance(status, int) or isinstance(status, bool):
                raise HttpError(f"{self._client.url.shown()}: the answer has no status")
        except HttpError as error:
            self._trouble("policy server", str(error))
            return (Decision.UNKNOWN if self._settings.rejects_on_fail else Decision.GO_ON), 0.0
        if not status:
            return Decision.GO_ON, 0.0
        what = "wait" if status > 0 else "refuse"
        words = str(said.get("msg", ""))[:200]
        ignored = " (auth_policy_log_only)" if self._settings.logs_only else ""
        who = f"{attempt.login!r} from {attempt.question.remote}"
        self._say(f"{who}: policy server says {status} ({what}){ignored}: {words!r}")
        return (Decision.GO_ON, float(status)) if status > 0 else (Decision.REFUSE, 0.0)

    async def _report(self, attempt: Attempt, more: Mapping[str, Any]) -> None:
        try:
            await self._ask("report", attempt, more)
        except HttpError as error:
            self._trouble("policy server", str(error))

    async def _ask(self, command: str, attempt: Attempt, more: Mapping[str, Any]) -> dict[str, Any]:
        """Raises HttpError."""
        body = json.dumps({**self._values(attempt), **more, "tls": attempt.question.is_secured}).encode()
        answer = await self._client.call("POST", f"{self._sign}command={command}", headers=self._headers, body=body)
        if answer.status // 100 != 2:
            raise HttpError(f"{self._client.url.shown()}: the server says {answer.status}")
        if command == "report":
            return {}
        try:
            found = json.loads(answer.body)
        except (ValueError, RecursionError) as error:
            raise HttpError(f"{self._client.url.shown()}: the answer is not JSON") from error
        if not isinstance(found, dict):
            raise HttpError(f"{self._client.url.shown()}: the answer is not an object of JSON")
        return found

    def _values(self, attempt: Attempt) -> dict[str, Any]:
        values = {
            **msgspec.structs.replace(attempt.question, user=attempt.login).values(),
            "requested_username": attempt.login,
            "hashed_password": self._hashed(attempt),
        }
        found: dict[str, Any] = {}
        for path, template in self._templates:
            inside = found
            for part in path[:-1]:
                inside = inside.setdefault(part, {})
            inside[path[-1]] = template.fill(values).encode("utf-8", "replace").decode()
        return found

    def _hashed(self, attempt: Attempt) -> str:
        """The first bits of it, as a number in whole octets, as Dovecot writes them."""
        if attempt.password is None:
            return ""
        login = attempt.login.encode("utf-8", "surrogateescape")
        digest = hashlib.new(self._settings.hash_name, self._nonce + login + b"\0" + attempt.password).digest()
        bits = min(self._settings.bits or len(digest) * 8, len(digest) * 8)
        return (int.from_bytes(digest, "big") >> (len(digest) * 8 - bits)).to_bytes((bits + 7) // 8, "big").hex()


def _templates(text: str) -> list[tuple[list[str], Template]]:
    """name=value, with name/name for objects in objects. Raises BadTemplate, ValueError."""
    found: list[tuple[list[str], Template]] = []
    for word in text.split():
        name, equals, value = word.partition("=")
        path = name.split("/")
        if not equals or not all(path):
            raise ValueError(f"auth_policy_request_attributes: {word}: name=value is expected")
        for known, _ in found:
            shorter = min(len(known), len(path))
            if known[:shorter] == path[:shorter]:
                raise ValueError(f"auth_policy_request_attributes: {name} stands in the place of {'/'.join(known)}")
        found.append((path, Template.parse(value, VARIABLES)))
    return found
