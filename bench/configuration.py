"""The configurations of the servers: the files in bench/configurations, filled with the places of one run."""

import subprocess
from pathlib import Path

_DIRECTORY = Path(__file__).parent / "configurations"


def read(name: str) -> str:
    return (_DIRECTORY / name).read_text()


def fill(name: str, **places: object) -> str:
    return read(name).format(**places)


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """One for all servers of a run: a P-256 key, as the product makes by itself."""
    certificate, key = directory / "cert.pem", directory / "key.pem"
    if not certificate.exists():
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-days", "30", "-subj", "/CN=mail.example.test", "-keyout", str(key), "-out", str(certificate)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        key.chmod(0o644)  # nothing but the benchmark trusts it; the servers' users must reach it
    return certificate, key
