"""The files of an edge: its CA, its certificate and key, and where its servers are.

    DIR/agent.toml                node, enrolment servers, hubs, project
    DIR/ca/rootCA.crt             the pinned CA
    DIR/ca/bundle.crt             the CAs to trust instead, once the hub has sent a trust bundle; its number is in the first line
    DIR/certs -> certs.d/0007     the current pair: server.crt and server.key, in KubeEdge's names and formats
    DIR/pending-….key             the key of an enrolment or a renewal whose answer has not arrived, named after its proof
    DIR/announced                 the serial of the certificate for which the operator's hook ran last
    DIR/lock                      held by the one process that works here

The invariant: at every moment, also after a crash between any two steps, `certs` leads to a certificate and the key that belongs to it.
A new pair is written into a generation of its own, synced, and becomes current by one rename of the symbolic link; only then is the
old generation removed. A generation that a crash left half-made is never current, and the next swap removes it.
"""

import contextlib
import errno
import fcntl
import logging
import os
import re
import stat
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from edgeward.agent.endpoint import HTTPS_PORT, HUB_PORT, QUIC_PORT, Endpoint
from edgeward.agent.enrol import Pair
from edgeward.errors import InsecureFile, NodeInUse, NotFound, NotJoined, StoreUnavailable, Unreadable, UsageError
from edgeward.files import (
    Step,
    check_directory,
    make_private_directory,
    no_step,
    read_plain,
    read_private,
    sweep,
    sync_directory,
    write_new,
    write_private,
)
from edgeward.model.bundle import TrustBundle
from edgeward.pki import names, parse

DEFAULT_PROJECT = "e632aba927ea4ac2b575ec1603d56f10"
"""KubeEdge's own default project id; a hub does not look at it, but it may not be empty."""

_log = logging.getLogger(__name__)

_PROJECT = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_GENERATION = re.compile(r"[0-9]{4,}")
_BUNDLE_HEAD = re.compile(rb"# Edgeward trust bundle, number ([0-9]{1,16})\n")
_CURRENT = re.compile(r"certs\.d/([0-9]{4,})")
_FORGOTTEN_LINK = re.compile(r"\.certs\.[0-9a-f]{16}\.part")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Who this edge is and where its servers are: at least one of each, best first."""

    node: str
    https: tuple[Endpoint, ...]
    hub: tuple[Endpoint, ...]
    project: str = DEFAULT_PROJECT
    transport: str = "auto"
    """`websocket`, `quic`, or `auto`: QUIC where it works and WebSocket everywhere else."""
    quic: tuple[Endpoint, ...] = ()
    """Where to dial QUIC (UDP), best first; empty: the hubs' hosts on port 10001."""
    on_certificate_change: tuple[str, ...] = ()
    """A program and its arguments, run when the certificate changes."""

    def __post_init__(self) -> None:
        names.node_name(self.node)
        if not self.https or not self.hub:
            raise UsageError(problem="an agent needs the address of an enrolment server and of a hub")
        if not _PROJECT.fullmatch(self.project):
            raise UsageError(problem=f"{self.project!r} is not a project id: 1 to 64 letters, digits, `.`, `_` and `-`")
        if self.transport not in ("auto", "websocket", "quic"):
            raise UsageError(problem=f"there is no transport {self.transport!r}, only auto, websocket and quic")
        if any("\0" in part for part in self.on_certificate_change) or self.on_certificate_change[:1] == ("",):
            raise UsageError(
                problem='on_certificate_change is a list like ["/usr/bin/systemctl", "reload", "mosquitto"]'
            )


class Certificates:
    """The directory of one edge. Its methods block for a few disk accesses."""

    def __init__(self, directory: Path, *, step: Step = no_step) -> None:
        self.directory = directory.absolute()
        self._step = step

    @property
    def _ca_file(self) -> Path:
        return self.directory / "ca" / "rootCA.crt"

    @property
    def _bundle_file(self) -> Path:
        return self.directory / "ca" / "bundle.crt"

    @property
    def trust_file(self) -> Path:
        """Where the CAs to trust are, PEM."""
        return self._bundle_file if self._bundle_file.exists() else self._ca_file

    @property
    def _generations(self) -> Path:
        return self.directory / "certs.d"

    @property
    def _current(self) -> Path:
        return self.directory / "certs"

    @property
    def _announced(self) -> Path:
        return self.directory / "announced"

    def _pending(self, proof: bytes) -> Path:
        return self.directory / f"pending-{sha256(proof).hexdigest()[:16]}.key"

    @contextlib.contextmanager
    def locked(self, *, make: bool = False) -> Iterator[None]:
        """Be the only process that works on this directory; `make` it if it is not there.

        What an earlier crash left is removed. Raises `NodeInUse` when another one works here, `NotFound` or `InsecureDirectory`.
        """
        if make:
            make_private_directory(self.directory)
        check_directory(self.directory)
        descriptor = _open_lock(self.directory / "lock")
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise InsecureFile(path=self.directory / "lock", why="it is not a plain file")
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._sweep()
            yield
        except BlockingIOError as error:
            raise NodeInUse(path=self.directory) from error
        finally:
            os.close(descriptor)

    # ------------------------------------------------------------------------------------------------------- reading

    def settings(self) -> Settings:
        """What `agent.toml` says. Raises `NotFound` before the first join, `Unreadable`, `UsageError`, `InsecureFile`."""
        path = self.directory / "agent.toml"
        try:
            read = tomllib.loads(read_plain(path).decode())
        except NotFound as error:
            raise NotJoined(directory=self.directory) from error
        except ValueError as error:
            raise Unreadable(what=f"configuration ({path})", why=str(error)) from error
        try:
            return Settings(
                node=read["node"],
                https=tuple(Endpoint.parse(t, default_port=HTTPS_PORT, scheme="https") for t in read["https"]),
                hub=tuple(Endpoint.parse(t, default_port=HUB_PORT, scheme="wss") for t in read["hub"]),
                project=read.get("project", DEFAULT_PROJECT),
                transport=read.get("transport", "websocket"),
                quic=tuple(Endpoint.parse(t, default_port=QUIC_PORT, scheme="quic") for t in read.get("quic", [])),
                on_certificate_change=_texts(read.get("on_certificate_change", [])),
            )
        except KeyError as error:
            raise Unreadable(what=f"configuration ({path})", why=f"{error.args[0]} is missing") from error
        except (TypeError, AttributeError) as error:
            raise Unreadable(what=f"configuration ({path})", why="a value is of the wrong kind") from error

    def ca(self) -> bytes:
        """The DER of the pinned CA. Raises `NotFound` before the first join, `Unreadable`, `InsecureFile`."""
        return _one_certificate(read_plain(self._ca_file), self._ca_file)

    def bundle(self) -> TrustBundle:
        """The CAs to trust: the trust bundle that the hub sent last, or the pinned CA under the number 0. Raises as `ca` does."""
        try:
            octets = read_plain(self._bundle_file)
        except NotFound:
            return TrustBundle(sequence=0, anchors=(self.ca(),))
        first = _BUNDLE_HEAD.match(octets)
        if first is None:
            raise Unreadable(what=f"trust bundle ({self._bundle_file})", why="its first line does not say its number")
        found = parse.guarded(f"trust bundle ({self._bundle_file})", lambda: x509.load_pem_x509_certificates(octets))
        return TrustBundle(sequence=int(first[1]), anchors=tuple(one.public_bytes(Encoding.DER) for one in found))

    def pair(self) -> Pair:
        """The current pair. Raises `NotFound` when there is none, `Unreadable` when it is not a matching pair, `InsecureFile`."""
        name = self._current_generation()
        if name is None:
            raise NotJoined(directory=self.directory)
        place = self._generations / name
        certificate_file, key_file = place / "server.crt", place / "server.key"
        certificate = parse.certificate(_one_certificate(read_plain(certificate_file), certificate_file))
        key = _key(read_private(key_file), key_file)
        if parse.spki(key.public_key()) != parse.spki(parse.public_key(certificate)):
            raise Unreadable(what=f"pair ({self._current})", why="the key does not belong to the certificate")
        return Pair(certificate=certificate, key=key, certificate_file=certificate_file, key_file=key_file)

    def pending_key(self, proof: bytes) -> ec.EllipticCurvePrivateKey | None:
        """The key of an enrolment with this proof that was not answered, if there is one."""
        path = self._pending(proof)
        try:
            return _key(read_private(path), path)
        except NotFound:
            return None

    def announced(self) -> str:
        """The serial of the certificate for which the hook ran last; empty when it never did."""
        try:
            return read_plain(self._announced).decode("ascii", "replace").strip()
        except NotFound:
            return ""

    # ------------------------------------------------------------------------------------------------------- writing

    def announce(self, serial: str) -> None:
        """The hook ran for the certificate with this serial."""
        write_private(self._announced, f"{serial}\n".encode(), step=self._step)

    def keep_pending_key(self, proof: bytes, key: ec.EllipticCurvePrivateKey) -> None:
        """Keep `key` until `swap`, so that an enrolment whose answer is lost can be repeated with the same key. `proof` is what it is
        enrolled with: a token's bearer part, or the certificate that renews itself. A disk that takes this will take the rest."""
        write_private(self._pending(proof), key_pem(key), step=self._step)

    def write_ca(self, der: bytes) -> None:
        """Make `der` the pinned CA."""
        make_private_directory(self._ca_file.parent)
        sweep(self._ca_file.parent)
        write_private(self._ca_file, certificate_pem(der), step=self._step)
        self._bundle_file.unlink(missing_ok=True)  # it may be of another authority

    def write_bundle(self, bundle: TrustBundle) -> None:
        """Make `bundle` what is trusted, whole or not at all."""
        text = f"# Edgeward trust bundle, number {bundle.sequence}\n".encode() + b"".join(
            map(certificate_pem, bundle.anchors)
        )
        write_private(self._bundle_file, text, step=self._step)

    def write_settings(self, settings: Settings) -> None:
        """Write `agent.toml`."""
        lines = [
            "# Written by edgeward join. The first address of a list is tried first.",
            f'node = "{settings.node}"',
            f"https = {_strings(settings.https)}",
            f"hub = {_strings(settings.hub)}",
            f'project = "{settings.project}"',
            f'transport = "{settings.transport}"',
            *([f"quic = {_strings(settings.quic)}"] if settings.quic else []),
            "# A program and its arguments (no shell), run when the certificate has changed:",
            f"on_certificate_change = [{', '.join(map(_toml, settings.on_certificate_change))}]",
            "",
        ]
        write_private(self.directory / "agent.toml", "\n".join(lines).encode(), step=self._step)

    def swap(self, certificate: bytes, key: ec.EllipticCurvePrivateKey) -> None:
        """Make `certificate` (DER) and its `key` the current pair, as one; then forget the old one and the pending key.

        Raises `InsecureFile` when `certs` is not ours, `StoreUnavailable` when the disk refuses; then the old pair is still current.
        """
        current = self._current_generation()
        make_private_directory(self._generations)
        name = f"{1 + max((int(n) for n in self._numbers()), default=0):04d}"
        place = self._generations / name
        try:
            self._step("make generation")
            place.mkdir(mode=0o700)
            place.chmod(0o700)
            write_new(place / "server.crt", certificate_pem(certificate), step=self._step)
            write_new(place / "server.key", key_pem(key), step=self._step)
            sync_directory(place, step=self._step)
            sync_directory(self._generations, step=self._step)
            link = self.directory / f".certs.{os.urandom(8).hex()}.part"
            self._step("link")
            link.symlink_to(f"certs.d/{name}")
            self._step("swap")
            link.rename(self._current)
            sync_directory(self.directory, step=self._step)
        except OSError as error:
            raise StoreUnavailable(why=f"cannot write below {self.directory}: {error.strerror}") from error
        self._step(f"forget {current}")
        self._sweep()
        for pending in self.directory.glob("pending-*.key"):
            pending.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove generations that are not current, and temporary names."""
        current = self._current_generation()
        try:
            for name in self._numbers():
                if name != current:
                    self._step("remove generation")
                    check_directory(self._generations / name)
                    _remove(self._generations / name)
            sweep(self.directory)
            for entry in self.directory.iterdir():
                if _FORGOTTEN_LINK.fullmatch(entry.name) and entry.is_symlink():
                    entry.unlink()
        except OSError as error:  # what is current is not touched, and the next sweep tries again
            _log.warning("cannot remove what is left of an older pair below %s: %s", self.directory, error.strerror)

    def _numbers(self) -> list[str]:
        if not self._generations.exists():
            return []
        check_directory(self._generations)
        return [entry.name for entry in self._generations.iterdir() if _GENERATION.fullmatch(entry.name)]

    def _current_generation(self) -> str | None:
        """The name of the generation that `certs` leads to; None before the first join."""
        if not os.path.lexists(self._current):
            return None
        if not self._current.is_symlink():
            raise InsecureFile(path=self._current, why="it is not the agent's link to its certificates")
        found = _CURRENT.fullmatch(str(self._current.readlink()))
        if found is None:
            raise InsecureFile(path=self._current, why="it leads outside the agent's directory")
        check_directory(self._generations / found[1])
        return found[1]


def _open_lock(path: Path) -> int:
    """The descriptor of the lock file, which is made if it is not there; on a read-only file system the one that is there will do."""
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        try:
            return os.open(path, flags | os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
            return os.open(path, flags | os.O_RDONLY)
    except OSError as error:
        raise StoreUnavailable(why=f"cannot open {path}: {error.strerror}") from error


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise TypeError
    return tuple(value)


def _toml(text: str) -> str:
    """A TOML basic string, whose escapes JSON's are among, but for DEL, which JSON leaves as it is."""
    return msgspec.json.encode(text).decode().replace("\x7f", "\\u007f")


def _remove(generation: Path) -> None:
    """Remove a generation: a directory of plain files. Anything else in it is somebody else's, and stays."""
    for entry in generation.iterdir():
        entry.unlink()
    generation.rmdir()


def _strings(endpoints: tuple[Endpoint, ...]) -> str:
    return "[" + ", ".join(f'"{endpoint}"' for endpoint in endpoints) + "]"


def certificate_pem(der: bytes) -> bytes:
    """One certificate as KubeEdge stores it: PEM `CERTIFICATE`."""
    return parse.certificate(der).public_bytes(Encoding.PEM)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as KubeEdge can read it: PEM `EC PRIVATE KEY` (SEC 1), not encrypted."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def _one_certificate(pem: bytes, path: Path) -> bytes:
    found: list[x509.Certificate] = parse.guarded(f"certificate ({path})", lambda: x509.load_pem_x509_certificates(pem))
    if len(found) != 1:
        raise Unreadable(what=f"certificate ({path})", why=f"it has {len(found)} certificates instead of one")
    return found[0].public_bytes(Encoding.DER)


def _key(pem: bytes, path: Path) -> ec.EllipticCurvePrivateKey:
    key = parse.guarded(f"private key ({path})", lambda: load_pem_private_key(pem, None))
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Unreadable(what=f"private key ({path})", why="it is not an EC key")
    return key
