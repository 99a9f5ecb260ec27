"""Debian's slapd with a directory of its own, run by the test."""

import os
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

from posthouse.runtime.certificate_files import CertificateFiles
from posthouse.runtime.certificates import make

SLAPD = Path("/usr/sbin/slapd")
SLAPADD = Path("/usr/sbin/slapadd")
CONFIGURATION = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile {directory}/slapd.pid
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCACertificateFile {tls.authority}
TLSCertificateFile {tls.certificate}
TLSCertificateKeyFile {tls.key}
disallow bind_anon
database mdb
maxsize 10485760
suffix "dc=example,dc=org"
rootdn "cn=admin,dc=example,dc=org"
rootpw admin-secret
directory {directory}/data
limits dn.exact="cn=reader,dc=example,dc=org" size.soft=500 size.hard=500 size.prtotal=unlimited
access to attrs=userPassword
  by dn.exact="cn=reader,dc=example,dc=org" read
  by anonymous auth
access to * by dn.exact="cn=reader,dc=example,dc=org" read by self read
"""
ENTRIES = r"""
dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
o: Example
dc: example

dn: cn=reader,dc=example,dc=org
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: reader-secret

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

dn: uid=bob,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
objectClass: posixAccount
uid: bob
cn: Bob
sn: Builder
mail: bob@example.org
mail: builder@example.org
uidNumber: 5000
gidNumber: 5001
homeDirectory: /var/vmail/bob
userPassword: {SSHA}yI6cZwQadOA1e+/f+T+H3eCQQhRzYWx0

dn: uid=ann,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
objectClass: posixAccount
uid: ann
cn: Ann
sn: Twin
mail: twin@example.org
uidNumber: 5002
gidNumber: 5001
homeDirectory: /var/vmail/ann
userPassword: ann-secret

dn: uid=twin,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
objectClass: posixAccount
uid: twin
cn: Twin
sn: Twin
mail: twin@example.org
uidNumber: 5003
gidNumber: 5001
homeDirectory: /var/vmail/twin
userPassword: twin-secret

dn: uid=a*b\2cc\\d,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
objectClass: posixAccount
uid: a*b,c\d
cn: Odd
sn: Odd
mail: odd@example.org
uidNumber: 5004
gidNumber: 5001
homeDirectory: /var/vmail/odd
userPassword: odd-secret
"""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class OpenLdap:
    def __init__(self, directory: Path, more: str = "") -> None:
        self.directory = directory
        (directory / "data").mkdir(parents=True)
        make(directory, ("localhost",))
        self.tls = CertificateFiles.within(directory)
        self.port, self.tls_port = free_port(), free_port()
        self._configuration = directory / "slapd.conf"
        self._configuration.write_text(CONFIGURATION.format(directory=directory, tls=self.tls))
        subprocess.run(
            [SLAPADD, "-f", self._configuration],
            input=(ENTRIES + more).encode(),
            check=True,
            capture_output=True,
            timeout=30,
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> str:
        return f"{self.directory}/ldapi"

    @property
    def ldapi(self) -> str:
        return f"ldapi://{quote(self.socket, safe='')}"

    def start(self) -> None:
        urls = f"ldap://127.0.0.1:{self.port} ldaps://127.0.0.1:{self.tls_port} {self.ldapi}"
        log = (self.directory / "log").open("ab")
        self._process = subprocess.Popen(
            [SLAPD, "-f", self._configuration, "-h", urls, "-d", "0"], stdout=log, stderr=log, cwd="/"
        )
        log.close()
        until_s = time.monotonic() + 20
        while True:
            assert self._process.poll() is None, (self.directory / "log").read_text()
            assert time.monotonic() < until_s, "slapd does not listen"
            try:
                socket.create_connection(("127.0.0.1", self.tls_port), 1).close()
                if os.path.exists(self.socket):
                    return
            except OSError:
                pass
            time.sleep(0.02)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None
