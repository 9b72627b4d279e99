"""Servers as others run them, from the programs of Debian: PostgreSQL and Redis with TLS, and PgBouncer.

Each listens on a port of loopback that was free a moment ago, and ends with its context.
"""

import datetime as dt
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fullon_embedded.binaries import PostgresPrograms
from fullon_embedded.identity import Identity, choose_identity, give

START_S = 30.0
STOP_S = 20.0
POLL_S = 0.02
VALID = dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.datetime(2120, 1, 1, tzinfo=dt.UTC)
PASSWORD = "s3cret/@of:all"


def program(name: str) -> Path:
    """Return where a program is; the test is skipped where it is not installed."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed here")
    return Path(found)


@dataclass(frozen=True)
class Certificates:
    """PEM files of an authority, of a server at `localhost` that it signed, of a client, and of another authority."""

    directory: Path

    @property
    def ca(self) -> str:
        return str(self.directory / "ca.pem")

    @property
    def other_ca(self) -> str:
        return str(self.directory / "other_ca.pem")

    def cert(self, name: str) -> str:
        return str(self.directory / f"{name}.pem")

    def key(self, name: str) -> str:
        return str(self.directory / f"{name}.key")


def make_certificates(directory: Path, client: str) -> Certificates:
    """Make them; `client` is whom the client's certificate names."""
    made = Certificates(directory)
    ca, ca_key = _certificate("an authority", None)
    other, _ = _certificate("another authority", None)
    for file, certificate in ((made.ca, ca), (made.other_ca, other)):
        Path(file).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    for name, subject in (("server", "localhost"), ("client", client)):
        certificate, key = _certificate(subject, (ca, ca_key))
        Path(made.cert(name)).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        Path(made.key(name)).write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        os.chmod(made.key(name), 0o600)
    return made


_Signer = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def _certificate(subject: str, signer: _Signer | None) -> _Signer:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    issuer, issuer_key = (signer[0].subject, signer[1]) if signer else (name, key)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(VALID[0])
        .not_valid_after(VALID[1])
        .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
    )
    if signer is not None:
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(subject)]), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    return builder.sign(issuer_key, hashes.SHA256()), key


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@dataclass(frozen=True)
class Server:
    """A running server: its port, and the directory that is its own."""

    port: int
    directory: Path
    identity: Identity | None = None
    socket: str = ""


@contextmanager
def debian_postgres(certificates: Certificates, rules: str) -> Iterator[Server]:
    """Run PostgreSQL with TLS; `rules` are lines of pg_hba.conf for clients over TCP, superusers use the socket."""
    programs = _postgres_programs()
    with _own_directory("fullon-pg-") as directory:
        identity, programs = choose_identity(programs, directory)
        give(directory, identity)
        cluster = directory / "cluster"
        initdb = [programs.initdb, "-D", cluster, "-U", "postgres", "--auth=trust", "--no-sync", "--encoding=UTF8"]
        subprocess.run([*identity.prefix, *map(str, initdb), "--locale=C"], check=True, capture_output=True, cwd="/")
        (cluster / "pg_hba.conf").write_text(f"local all all trust\n{rules}")
        for name in (certificates.cert("server"), certificates.key("server"), certificates.ca):
            shutil.copy(name, cluster)
        give(cluster, identity)
        for path in cluster.glob("*.*"):
            os.chown(path, identity.uid, identity.gid)
        port = free_port()
        settings = {
            "listen_addresses": "localhost",
            "port": port,
            "unix_socket_directories": directory,
            "fsync": "off",
            "shared_buffers": "16MB",
            "ssl": "on",
            "ssl_cert_file": "server.pem",
            "ssl_key_file": "server.key",
            "ssl_ca_file": "ca.pem",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [*identity.prefix, str(programs.postgres), "-D", str(cluster), *options]
        with _running(command, directory / "log", lambda: _is_ready(cluster), stop_with="INT"):
            yield Server(port, directory, identity, str(directory))


@contextmanager
def pgbouncer(before: Server, users: Sequence[str], **settings: object) -> Iterator[Server]:
    """Run PgBouncer before a PostgreSQL, for users who need no password."""
    found = program("pgbouncer")
    port = free_port()
    assert before.identity is not None
    with _own_directory("fullon-bouncer-") as directory:
        give(directory, before.identity)
        (directory / "users.txt").write_text("".join(f'"{user}" ""\n' for user in users))
        lines = {
            "listen_addr": "127.0.0.1",
            "listen_port": port,
            "unix_socket_dir": "",
            "auth_type": "trust",
            "auth_file": directory / "users.txt",
        } | settings
        text = "".join(f"{name} = {value}\n" for name, value in lines.items())
        target = f"* = host={before.socket} port={before.port}\n"
        (directory / "pgbouncer.ini").write_text(f"[databases]\n{target}[pgbouncer]\n{text}")
        for path in directory.iterdir():
            os.chown(path, before.identity.uid, before.identity.gid)
        command = [*before.identity.prefix, str(found), str(directory / "pgbouncer.ini")]
        with _running(command, directory / "log", lambda: _accepts(port), stop_with="TERM"):
            yield Server(port, directory)


@contextmanager
def debian_redis(*settings: str, tls: Certificates | None = None) -> Iterator[Server]:
    """Run Redis; with `tls` it speaks nothing else, and asks clients for no certificate."""
    found = program("redis-server")
    port = free_port()
    with _own_directory("fullon-redis-") as directory:
        ports = ["--port", str(port)]
        if tls is not None:
            ports = ["--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no", "--tls-ca-cert-file", tls.ca]
            ports += ["--tls-cert-file", tls.cert("server"), "--tls-key-file", tls.key("server")]
        command = [str(found), "--bind", "127.0.0.1", "--dir", str(directory), "--save", "", *ports, *settings]
        with _running(command, directory / "log", lambda: _accepts(port), stop_with="TERM"):
            yield Server(port, directory)


def _postgres_programs() -> PostgresPrograms:
    for directory in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (directory / "postgres").exists() and (directory / "initdb").exists():
            return PostgresPrograms(directory, int(directory.parent.name), timescaledb=False)
    pytest.skip("no PostgreSQL of Debian is installed here; the embedded one has no TLS")


@contextmanager
def _own_directory(prefix: str) -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


@contextmanager
def _running(command: Sequence[str], log: Path, is_up: Callable[[], bool], *, stop_with: str) -> Iterator[None]:
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink, stdin=subprocess.DEVNULL, cwd="/")
    try:
        give_up = time.monotonic() + START_S
        while not is_up():
            assert process.poll() is None, f"{command[-2:]} has ended: {log.read_text()[-2000:]}"
            assert time.monotonic() < give_up, f"{command[-2:]} does not listen: {log.read_text()[-2000:]}"
            time.sleep(POLL_S)
        yield
    finally:
        if process.poll() is None:
            process.send_signal(signal.Signals[f"SIG{stop_with}"])
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def _is_ready(cluster: Path) -> bool:
    pid_file = cluster / "postmaster.pid"
    lines = pid_file.read_text().splitlines() if pid_file.exists() else []
    return len(lines) > 7 and lines[7].strip() == "ready"
