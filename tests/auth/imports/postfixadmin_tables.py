"""The shape of PostfixAdmin's tables (version 3.3), and some rows; one text for three databases."""

from posthouse.auth.schemes import make


def _hash(scheme: str, password: str) -> str:
    return make(scheme, password.encode()).partition("}")[2]


def tables(boolean: str) -> str:
    """`boolean`: the type of truth values."""
    return f"""
CREATE TABLE domain (domain varchar(255) NOT NULL PRIMARY KEY, description varchar(255) NOT NULL DEFAULT '',
  aliases int NOT NULL DEFAULT 0, mailboxes int NOT NULL DEFAULT 0, maxquota bigint NOT NULL DEFAULT 0,
  quota bigint NOT NULL DEFAULT 0, transport varchar(255) NOT NULL DEFAULT 'virtual',
  backupmx {boolean} NOT NULL, created timestamp NULL, modified timestamp NULL, active {boolean} NOT NULL,
  password_expiry int DEFAULT 0);
CREATE TABLE mailbox (username varchar(255) NOT NULL PRIMARY KEY, password varchar(255) NOT NULL,
  name varchar(255) NOT NULL DEFAULT '', maildir varchar(255) NOT NULL, quota bigint NOT NULL DEFAULT 0,
  local_part varchar(255) NOT NULL DEFAULT '', domain varchar(255) NOT NULL, created timestamp NULL,
  modified timestamp NULL, active {boolean} NOT NULL, phone varchar(30) NOT NULL DEFAULT '',
  email_other varchar(255) NOT NULL DEFAULT '', token varchar(255) NOT NULL DEFAULT '',
  token_validity timestamp NULL, password_expiry timestamp NULL);
CREATE TABLE alias (address varchar(255) NOT NULL PRIMARY KEY, goto text NOT NULL, domain varchar(255) NOT NULL,
  created timestamp NULL, modified timestamp NULL, active {boolean} NOT NULL);
CREATE TABLE alias_domain (alias_domain varchar(255) NOT NULL PRIMARY KEY, target_domain varchar(255) NOT NULL,
  created timestamp NULL, modified timestamp NULL, active {boolean} NOT NULL);
"""


MD5 = _hash("MD5-CRYPT", "secret")
SHA512 = _hash("SHA512-CRYPT", "secret")
BLF = make("BLF-CRYPT", b"secret", rounds=4)
MAILBOXES = (
    ("ann@example.test", MD5, 1048576, True),
    ("bob@example.test", BLF, 0, True),
    ("carl@example.test", SHA512, 0, False),
    ("dora@closed.test", "{PLAIN}secret", 0, True),
    ("eve@example.test", "", 0, True),
    ("frank@backup.test", MD5, 0, True),
)
ALIASES = (
    ("ann@example.test", "ann@example.test", True),
    ("bob@example.test", "bob@example.test,bob@elsewhere.test,bob#example.test@autoreply.example.test", True),
    ("info@example.test", "ann@example.test,bob@example.test", True),
    ("old@example.test", "ann@example.test", False),
    ("@example.test", "ann@example.test", True),
)
DOMAINS = (
    ("ALL", False, True),
    ("example.test", False, True),
    ("other.test", False, True),
    ("closed.test", False, False),
    ("backup.test", True, True),
)


def rows(yes: str, no: str) -> str:
    def truth(value: bool) -> str:
        return yes if value else no

    domains = [f"('{name}', {truth(backup)}, {truth(active)})" for name, backup, active in DOMAINS]
    mailboxes = [
        f"('{name}', '{password}', '{name.partition('@')[2]}/{name.partition('@')[0]}/', {quota},"
        f" '{name.partition('@')[2]}', {truth(active)})"
        for name, password, quota, active in MAILBOXES
    ]
    aliases = [f"('{name}', '{goto}', '{name.partition('@')[2]}', {truth(active)})" for name, goto, active in ALIASES]
    return f"""
INSERT INTO domain (domain, backupmx, active) VALUES {", ".join(domains)};
INSERT INTO mailbox (username, password, maildir, quota, domain, active) VALUES {", ".join(mailboxes)};
INSERT INTO alias (address, goto, domain, active) VALUES {", ".join(aliases)};
INSERT INTO alias_domain (alias_domain, target_domain, active) VALUES ('other.test', 'example.test', {yes});
"""
