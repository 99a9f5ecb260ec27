"""Dovecot's dovecot-oauth2.conf.ext. Read by master too, which must not load what checks tokens."""

import re
from collections.abc import Mapping
from typing import Final

from posthouse.auth.databases.queries import parse_query_file

WORKS: Final = frozenset(
    (
        "tokeninfo_url", "introspection_url", "introspection_mode", "force_introspection", "local_validation_key_dict",
        "username_attribute", "username_format", "active_attribute", "active_value", "client_id", "client_secret",
        "scope", "issuers", "pass_attrs", "timeout_msecs", "tls_ca_cert_file", "tls_allow_invalid_cert",
        "tls_cipher_suite",
    )
)  # fmt: skip
WITHOUT_EFFECT: Final = frozenset(
    ("debug", "max_idle_time_msecs", "max_parallel_connections", "max_pipelined_requests", "openid_configuration_url")
)
"""Connections have limits of our own; RFC 7628's refusal names no configuration yet."""
UNSUPPORTED: Final = frozenset(
    ("grant_url", "use_grant_password", "rawlog_dir", "send_auth_headers", "tls_ca_cert_dir", "tls_cert_file",
     "tls_key_file")
)  # fmt: skip
_KEY_DICT: Final = re.compile(r"fs:posix:prefix=(/.*)")


def parse_oauth2_file(text: str, path: str) -> dict[str, str]:
    """Raises BadDatabase."""
    return parse_query_file(text, path, WORKS | WITHOUT_EFFECT | UNSUPPORTED)


def key_prefix(settings: Mapping[str, str]) -> str:
    """Of the files with keys; "" if they are elsewhere."""
    match = _KEY_DICT.fullmatch(settings.get("local_validation_key_dict", ""))
    return match[1] if match is not None else ""
