"""Dovecot's `driver = oauth2`: whose is a bearer token?

A server is asked (tokeninfo_url, introspection_url), or the token is signed and checked here (introspection_mode =
local). A password in clear text is taken for a token, as Dovecot does. Whatever is not a clear answer is a temporary
failure.
"""

import json
import re
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

import msgspec

from posthouse.auth.databases.lookup import BadDatabase, DatabaseError, PassFound, Question
from posthouse.auth.databases.oauth2_file import UNSUPPORTED, key_prefix, parse_oauth2_file
from posthouse.auth.databases.signed_tokens import KeyDirectory, Refused, Terms, claims
from posthouse.auth.http_client import BadUrl, HttpAnswer, HttpClient, HttpError, Url, basic
from posthouse.core.variables import LOGIN_VARIABLES, BadTemplate, Template

TIMEOUT_S: Final = 10.0
"""If timeout_msecs does not say otherwise (0, the default, would be none)."""
MAXIMAL_TOKEN_OCTETS: Final = 16 * 1024
"""It travels in a header; servers take no longer ones."""
MAXIMAL_FIELDS: Final = 200
MODES: Final = ("auth", "get", "post", "local")
_TOKEN: Final = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
"""RFC 6750 s2.1: nothing else can stand in a header, and nothing else is sent."""
_OF_TOKEN: Final = re.compile(r"\{oauth2:([A-Za-z0-9_.-]+)\}")


class _Rule(msgspec.Struct, frozen=True):
    """A field of pass_attrs. `needs`: what it takes from the token's fields, by variable."""

    field: str
    template: Template
    needs: Mapping[str, str]


def parse_pass_attrs(text: str) -> tuple[_Rule, ...]:
    """ "field=text with %{oauth2:name}", several with spaces between. Raises BadDatabase."""
    found: list[_Rule] = []
    for word in text.split():
        field, equals, value = word.partition("=")
        if not equals or not field:
            raise BadDatabase(f"pass_attrs: {word}: field=value is expected")
        needs: dict[str, str] = {}

        def name(match: re.Match[str], needs: dict[str, str] = needs) -> str:
            key = f"oauth2_{len(needs)}"
            needs[key] = match[1]
            return f"{{{key}}}"

        replaced = _OF_TOKEN.sub(name, value)
        try:
            template = Template.parse(replaced, {**LOGIN_VARIABLES, **{key: key for key in needs}})
        except BadTemplate as error:
            raise BadDatabase(f"pass_attrs: {word}: {error}") from error
        found.append(_Rule(field, template, needs))
    return tuple(found)


class Oauth2Database:
    """Implements TokenDatabase and CheckingDatabase. `read` gives the text of the CA file; `read_key` and `stamp` are
    for keys, while it runs. Raises BadDatabase."""

    name = "oauth2"
    default_scheme = "PLAIN"

    def __init__(
        self,
        path: str,
        text: str,
        read: Callable[[str], str],
        read_key: Callable[[str], bytes],
        stamp: Callable[[str], object],
        *,
        skew_s: float,
    ) -> None:
        settings = parse_oauth2_file(text, path)
        self.path = path
        for name in sorted(UNSUPPORTED & settings.keys()):
            if not (name in ("use_grant_password", "send_auth_headers") and not _is_yes(settings[name])):
                raise BadDatabase(f"{path}: {name} is not supported; see docs/authentication.md for what is")
        self._mode = settings.get("introspection_mode", "auth") or "auth"
        if self._mode not in MODES:
            raise BadDatabase(f"{path}: introspection_mode = {self._mode}: known are {', '.join(MODES)}")
        self._forces = _is_yes(settings.get("force_introspection", "no"))
        self._username_attribute = settings.get("username_attribute", "email")
        self._active_attribute = settings.get("active_attribute", "")
        self._active_value = settings.get("active_value", "")
        self._client_id = settings.get("client_id", "")
        self._client_secret = settings.get("client_secret", "")
        self._scope = frozenset(settings.get("scope", "").split())
        self._issuers = frozenset(settings.get("issuers", "").split())
        self._skew_s = skew_s
        try:
            self._username = Template.parse(settings.get("username_format", "%Lu"), LOGIN_VARIABLES)
            self._rules = parse_pass_attrs(settings.get("pass_attrs", ""))
            timeout_s = int(settings.get("timeout_msecs", "0")) / 1000 or TIMEOUT_S
        except (BadTemplate, BadDatabase, ValueError) as error:
            raise BadDatabase(f"{path}: {error}") from error
        context = self._tls(settings, read)
        self._tokeninfo = self._client(settings, "tokeninfo_url", timeout_s, context)
        self._introspection = self._client(settings, "introspection_url", timeout_s, context)
        self._keys: KeyDirectory | None = None
        if self._mode == "local":
            prefix = key_prefix(settings)
            if not prefix:
                raise BadDatabase(f"{path}: local_validation_key_dict = fs:posix:prefix=/directory/ is needed")
            self._keys = KeyDirectory(prefix, read_key, stamp)
        elif self._tokeninfo is None and self._introspection is None:
            raise BadDatabase(f"{path}: tokeninfo_url, introspection_url or introspection_mode = local is needed")

    def _client(
        self, settings: Mapping[str, str], name: str, timeout_s: float, context: ssl.SSLContext | None
    ) -> HttpClient | None:
        text = settings.get(name, "")
        if not text:
            return None
        try:
            return HttpClient(Url.parse(text), timeout_s=timeout_s, context=context)
        except BadUrl as error:
            raise BadDatabase(f"{self.path}: {name}: {error}") from error

    def _tls(self, settings: Mapping[str, str], read: Callable[[str], str]) -> ssl.SSLContext | None:
        """Made before the jail closes: it reads the system's certificates."""
        if not any(settings.get(name, "").startswith("https:") for name in ("tokeninfo_url", "introspection_url")):
            return None
        ca = settings.get("tls_ca_cert_file", "")
        try:
            authorities = read(ca) if ca else None
            if authorities is not None and "BEGIN CERTIFICATE" not in authorities:
                raise ValueError(f"{ca} has no certificate in it")
            context = ssl.create_default_context(cadata=authorities)
            if ciphers := settings.get("tls_cipher_suite"):
                context.set_ciphers(ciphers)
        except (OSError, ValueError) as error:
            raise BadDatabase(f"{self.path}: tls_ca_cert_file or tls_cipher_suite: {error}") from error
        if _is_yes(settings.get("tls_allow_invalid_cert", "no")):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    async def token(self, question: Question, token: str) -> PassFound | None:
        if not _TOKEN.fullmatch(token) or len(token) > MAXIMAL_TOKEN_OCTETS:
            return _refused("this is no token")
        try:
            return self._judge(await self._fields(token), question)
        except Refused as error:
            return _refused(str(error))
        except HttpError as error:
            raise DatabaseError(f"{self.path}: {error}") from error

    async def check(self, question: Question, password: bytes) -> PassFound | None:
        """A token shown as a password."""
        return await self.token(question, password.decode("latin-1"))

    def close(self) -> None:
        for one in (self._tokeninfo, self._introspection):
            if one is not None:
                one.close()

    async def _fields(self, token: str) -> dict[str, Any]:
        """What is known about it. Raises Refused, HttpError, DatabaseError."""
        if self._keys is not None:
            return claims(token, self._keys, Terms(self._issuers, self._client_id, self._skew_s))
        found: dict[str, Any] = {}
        if self._tokeninfo is not None:
            answer = await self._tokeninfo.call("GET", quote(token, safe="-._~"))
            found = self._object(self._tokeninfo, answer, (400, 401))
        if self._introspection is not None and (
            self._tokeninfo is None or self._forces or self._username_attribute not in found
        ):
            found = {**found, **await self._introspected(self._introspection, token)}
        if self._issuers and found.get("iss", found.get("issuer")) not in self._issuers:
            raise Refused("the token is of another issuer")
        return found

    async def _introspected(self, client: HttpClient, token: str) -> dict[str, Any]:
        match self._mode:
            case "auth":
                answer = await client.call("GET", headers={"Authorization": f"Bearer {token}"})
                return self._object(client, answer, (400, 401, 403))
            case "get":
                answer = await client.call("GET", quote(token, safe="-._~"))
                return self._object(client, answer, (400, 401))
            case _:
                # RFC 7662 s2.1: the server wants to know who asks; 401 is about that, and never about the token.
                headers = {"Content-Type": "application/x-www-form-urlencoded"}
                if self._client_id and self._client_secret:
                    headers["Authorization"] = basic(quote(self._client_id), quote(self._client_secret))
                answer = await client.call("POST", headers=headers, body=f"token={quote(token, safe='')}".encode())
                found = self._object(client, answer, ())
                if not self._active_attribute and found.get("active") is not True:
                    raise Refused("the token is not active")
                return found

    def _object(self, client: HttpClient, answer: HttpAnswer, refusals: tuple[int, ...]) -> dict[str, Any]:
        if answer.status in refusals:
            raise Refused(f"the token server says {answer.status}")
        if not 200 <= answer.status < 300:
            raise HttpError(f"{client.url.shown()}: the server says {answer.status}")
        try:
            found = json.loads(answer.body)
        except (ValueError, RecursionError) as error:
            raise HttpError(f"{client.url.shown()}: the answer is not JSON") from error
        if not isinstance(found, dict) or len(found) > MAXIMAL_FIELDS:
            raise HttpError(f"{client.url.shown()}: the answer is not an object of JSON")
        return found

    def _judge(self, found: Mapping[str, Any], question: Question) -> PassFound:
        fields = {name: _text(value) for name, value in found.items()}
        if found.get("active") is False:
            return _refused("the token is not active")
        if self._active_attribute:
            active = fields.get(self._active_attribute)
            if active is None or (self._active_value and active != self._active_value):
                return _refused(f"the token is not active ({self._active_attribute})")
        if missing := self._scope - set(fields.get("scope", "").split()):
            return _refused(f"the token has not the scope {min(missing)}")
        named = found.get(self._username_attribute)
        if not isinstance(named, str) or not named or not named.isprintable():
            return _refused(f"the token does not say whose it is ({self._username_attribute})")
        user = self._username.fill(Question(named, question.service).values())
        if not user or (question.user and user != question.user):
            return _refused(f"the token is of {user or 'nobody'}")
        values = question.values()
        extra = {
            rule.field: rule.template.fill(
                {**values, **{key: fields.get(wanted, "") for key, wanted in rule.needs.items()}}
            )
            for rule in self._rules
        }
        return PassFound("", {**extra, "user": user}, is_right=True)


def _refused(reason: str) -> PassFound:
    return PassFound("", is_right=False, reason=reason)


def _text(value: object) -> str:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case list():
            return " ".join(one for one in value if isinstance(one, str))
        case _:
            return ""


def _is_yes(value: str) -> bool:
    return value.lower() in ("yes", "y", "1", "true")
