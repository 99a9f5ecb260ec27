"""The prepared image: what libraries load on first use, loaded before the first fork.

A jailed process may not be able to read the files of a codec or of a DNS record type at the moment a stranger's mail
first needs it. Loaded here, all of it is also shared by every process. `tests/security` compares what is imported
inside the jail with this list.
"""

import importlib
import pkgutil
import ssl
from typing import Final

from posthouse.runtime import tls

_DNS_RECORD_PACKAGES: Final = ("dns.rdtypes.ANY", "dns.rdtypes.IN")
_NEEDED_DNS_TYPES: Final = frozenset(
    (
        *("A", "AAAA", "CNAME", "DNAME", "DNSKEY", "DS", "HINFO", "HTTPS", "MX", "NS", "NSEC", "NSEC3", "NSEC3PARAM"),
        *("OPT", "PTR", "RP", "RRSIG", "SOA", "SPF", "SRV", "SVCB", "TLSA", "TXT"),
    )
)
_SKIPPED_CODECS: Final = frozenset({"mbcs", "oem", "cp65001"})
"""Windows only."""
_MODULES: Final = (
    "asyncio",
    "asyncio.sslproto",
    "concurrent.futures.thread",
    "email.base64mime",
    "email.quoprimime",
    "encodings.idna",
    "linecache",
    "stringprep",
    "traceback",
    "tracemalloc",
    "unicodedata",
    "uvloop",
)


def preload() -> None:
    """Call in master, once, before the first fork."""
    for name in _MODULES:
        importlib.import_module(name)
    for codec in _all_codecs():
        importlib.import_module(codec)
        # The search function is asked once and remembers; a name asked for later is already in its cache.
    for name in _dns_types():
        importlib.import_module(name)
    _prepare_openssl()


def _prepare_openssl() -> None:
    """OpenSSL fetches its algorithms when the first context is made, 2 MB in every process that speaks TLS. Here no key
    is at hand; its random numbers start anew in each child."""
    for protocol in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT):
        context = ssl.SSLContext(protocol)
        context.set_ciphers(tls.CIPHERS)
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), protocol == ssl.PROTOCOL_TLS_SERVER, None)


def _all_codecs() -> list[str]:
    import encodings

    return [
        f"encodings.{one.name}" for one in pkgutil.iter_modules(encodings.__path__) if one.name not in _SKIPPED_CODECS
    ]


def _dns_types() -> list[str]:
    found: list[str] = []
    for package in _DNS_RECORD_PACKAGES:
        module = importlib.import_module(package)
        found += [f"{package}.{one.name}" for one in pkgutil.iter_modules(module.__path__)]
    return [one for one in found if one.rpartition(".")[2] in _NEEDED_DNS_TYPES]
