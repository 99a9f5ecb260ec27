"""GNU SASL and curl log in with everything that they know and we do."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.running import RunningSystem

pytestmark = pytest.mark.foreign
MECHANISMS = (
    "plain login cram-md5 digest-md5 scram-sha-1 scram-sha-256 scram-sha-1-plus scram-sha-256-plus external anonymous"
)
USER = "carol@example.test"
PASSWORD = "looking glass"
TLS_1_2 = "NORMAL:-VERS-TLS1.3"


@dataclass
class Place:
    system: RunningSystem
    authority: Path
    certificate: Path
    key: Path
    gsasl: str

    def login(
        self, mechanism: str, *options: str, user: str = USER, password: str = PASSWORD, endpoint: str = "imap"
    ) -> tuple[bool, str]:
        """Whether it worked, and the dialogue."""
        host, port = self.system.endpoint(endpoint)
        command = [self.gsasl, f"--{endpoint.replace('submission', 'smtp')}", f"--connect={host}:{port}"]
        command += ["--hostname=localhost", "--service=imap" if endpoint == "imap" else "--service=smtp"]
        command += [
            "-m",
            mechanism,
            "-a",
            user,
            "-p",
            password,
            "-z",
            "",
            "--quality-of-protection=qop-auth",
            f"--x509-ca-file={self.authority}",
            *options,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, input="")
        said = done.stdout + done.stderr
        # For SMTP its exit status says nothing.
        return done.returncode == 0 and (endpoint == "imap" or "\n235 " in said), said


def make_authority(directory: Path) -> tuple[Path, Path, Path]:
    """An authority, and a certificate of it that names the user, with its key."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)

    authority, authority_key = directory / "ca.pem", directory / "ca.key"
    key, request, certificate = directory / "user.key", directory / "user.csr", directory / "user.pem"
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *new, "-keyout", str(authority_key), "-out", str(authority), "-subj", "/CN=authority")
    openssl("req", *new, "-keyout", str(key), "-out", str(request), "-subj", f"/O=Example/CN={USER}")
    signing = ["-CA", str(authority), "-CAkey", str(authority_key), "-CAcreateserial", "-days", "30"]
    openssl("x509", "-req", "-in", str(request), *signing, "-out", str(certificate))
    authority.chmod(0o644)
    return authority, certificate, key


@pytest.fixture
def place(new_sandbox: Callable[..., RunningSystem], tmp_path: Path, foreign: Callable[[str], str]) -> Place:
    gsasl = foreign("gsasl")
    authority, certificate, key = make_authority(tmp_path)
    users = tmp_path / "users"
    users.mkdir(mode=0o755)
    listed = users / "users"
    stored = subprocess.run(
        ["doveadm", "-c", "/dev/null", "pw", "-s", "SCRAM-SHA-256", "-p", PASSWORD], capture_output=True, text=True
    ).stdout.strip()
    listed.write_text(
        f"{USER}:{{PLAIN}}{PASSWORD}::::::\n"
        f"scram@example.test:{stored}::::::\n"
        "hashed@example.test:{SHA512-CRYPT}$6$abc$x::::::\n"
        "anonymous:{PLAIN}nobody's::::::\n"
    )
    listed.chmod(0o644)
    system = new_sandbox(
        f"dovecot/auth_mechanisms={MECHANISMS}",
        "dovecot/passdb/1/driver=passwd-file",
        f"dovecot/passdb/1/args=username_format=%u {listed}",
        "dovecot/userdb/1/driver=static",
        "dovecot/userdb/1/args=allow_all_users=yes",
        "dovecot/auth_failure_delay=0",
        "dovecot/auth_verbose=yes",
        "dovecot/ssl_verify_client_cert=yes",
        f"dovecot/ssl_ca=<{authority}",
        "smtpd_tls_auth_only=no",
    )
    return Place(system, Path(system.facts["ca_file"]), certificate, key, gsasl)


@pytest.mark.parametrize("endpoint", ["imap", "submission"])
@pytest.mark.parametrize("mechanism", ["CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "PLAIN", "LOGIN"])
def test_gsasl_logs_in(place: Place, endpoint: str, mechanism: str) -> None:
    # Its SMTP dialogue forgets EHLO before STARTTLS.
    options = ("--no-starttls", "--realm=") if mechanism == "DIGEST-MD5" else ("--no-starttls",)
    is_right, said = place.login(mechanism, *options, endpoint=endpoint)
    assert is_right, said
    place.system.expect_log("authentication failed")
    assert not place.login(mechanism, *options, endpoint=endpoint, password="wrong")[0]
    assert not place.login(mechanism, *options, endpoint=endpoint, user="nobody@example.test")[0]


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS"])
def test_gsasl_binds_the_login_to_the_connection(place: Place, mechanism: str) -> None:
    is_right, said = place.login(mechanism, "--starttls", f"--priority={TLS_1_2}")
    assert is_right, said
    assert f"AUTH={mechanism}" in said
    assert not place.login(mechanism, "--starttls", f"--priority={TLS_1_2}", password="wrong")[0]
    # TLS 1.3 has no binding that we could give: it is not offered there, and plain SCRAM works.
    is_right, said = place.login(mechanism.removesuffix("-PLUS"), "--starttls", "--no-cb")
    assert is_right, said
    assert "-PLUS" not in said


def test_stored_scram_keys_serve_scram_and_plain_only(place: Place) -> None:
    user = "scram@example.test"
    assert place.login("SCRAM-SHA-256", "--no-starttls", user=user)[0]
    assert place.login("PLAIN", "--no-starttls", user=user)[0]
    assert not place.login("SCRAM-SHA-1", "--no-starttls", user=user)[0]
    assert not place.login("CRAM-MD5", "--no-starttls", user="hashed@example.test")[0]
    place.system.wait_for_log("SCRAM-SHA-1 needs a password stored as PLAIN or SCRAM-SHA-1, this one is SCRAM-SHA-256")
    place.system.wait_for_log("CRAM-MD5 needs a password stored as PLAIN or CRAM-MD5, this one is SHA512-CRYPT")


def test_anonymous_is_a_user_of_that_name_and_smtp_does_not_offer_it_by_default(place: Place) -> None:
    is_right, said = place.login("ANONYMOUS", "--no-starttls", "--anonymous-token=sirhc")
    assert is_right, said
    place.system.wait_for_log("trace sirhc")


def test_external_takes_the_user_of_the_certificate(
    place: Place, new_sandbox: Callable[..., RunningSystem], tmp_path: Path
) -> None:
    certificate = ("--starttls", f"--x509-cert-file={place.certificate}", f"--x509-key-file={place.key}")
    is_right, said = place.login("EXTERNAL", *certificate)
    assert not is_right, "auth_ssl_username_from_cert = no"
    assert "AUTH=EXTERNAL" not in said
    settings = Path(place.system.configuration, "dovecot.conf")
    settings.write_text(settings.read_text() + "auth_ssl_username_from_cert = yes\n")
    place.system.reload()
    place.system.wait_until(lambda: place.login("EXTERNAL", *certificate)[0], "EXTERNAL to work")
    assert "AUTH=EXTERNAL" in place.login("EXTERNAL", *certificate)[1]
    place.system.wait_for_log(f"Login: user=<{USER}>, method=EXTERNAL")
    assert not place.login("EXTERNAL", "--starttls")[0], "without a certificate"
    # The certificate says who it is, whatever name comes with a password.
    assert place.login("PLAIN", *certificate, user="scram@example.test")[0]
    place.system.wait_for_log(f"Login: user=<{USER}>, method=PLAIN")


@pytest.mark.parametrize("mechanism", ["CRAM-MD5", "DIGEST-MD5", "PLAIN", "LOGIN"])
@pytest.mark.parametrize("endpoint", ["imap", "pop3", "submission"])
def test_curl_logs_in(place: Place, foreign: Callable[[str], str], endpoint: str, mechanism: str) -> None:
    host, port = place.system.endpoint(endpoint)
    scheme = {"submission": "smtp"}.get(endpoint, endpoint)
    command = [foreign("curl"), "-sS", "--insecure", "--login-options", f"AUTH={mechanism}"]
    command += ["--ssl-reqd"] if endpoint == "submission" else []
    command += ["-X", "NOOP"] if endpoint == "submission" else []
    place.system.expect_log("authentication failed")

    def login(password: str) -> int:
        url = f"{scheme}://{host}:{port}/"
        done = subprocess.run([*command, "-u", f"{USER}:{password}", url], capture_output=True, timeout=60, check=False)
        return done.returncode

    assert login(PASSWORD) == 0
    assert login("wrong") == 67
