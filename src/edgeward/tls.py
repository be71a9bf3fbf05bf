"""TLS for programs: the contexts that a server and a client of mutual (or one-way) TLS need, out of whatever files there are.

    context = edgeward.tls.server_context(certificate="server.crt", key="server.key", client_ca="ca.crt")

gives a standard `ssl.SSLContext`: give it to `asyncio.start_server`, `http.server`, `urllib`, aiohttp or a bare socket. The rules:

- TLS 1.2 and 1.3 with forward secrecy and authenticated encryption alone; no compression, no renegotiation.
- `client_ca` makes TLS mutual: a certificate of the pool is required and verified before the program sees an octet. Leaving it out, and
  nothing else, makes it one-way: an empty file or an empty text is an error, never "no check".
- A mutual server resumes nothing: a resumed session would carry a certificate that was judged by an older pool or an older CRL. Tickets
  are off, and TLS 1.2's session identifiers, which Python cannot turn off, are answered with an alert.
- The pool alone is trusted, and each certificate in it is an end of the path, an intermediate too, as Go has it. The machine's own roots
  count only with `ca="system"`.
- Files are read again when they have changed (time, size or inode), at the next handshake; connections that stand are left alone. Files
  that do not go together yet, because one of them is still being written, change nothing: the old ones stay in use, and the log says so.
"""

import logging
import os
import ssl
import tempfile
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from edgeward.errors import (
    EdgewardError,
    InputError,
    NotFound,
    PasswordNeeded,
    TooLarge,
    Unavailable,
    Unreadable,
    UsageError,
    WrongPassword,
)
from edgeward.pki import parse
from edgeward.pki.formats import pkcs8
from edgeward.pki.formats.detect import detect
from edgeward.pki.formats.item import Item, Kind, WrongKind, leaves, of_kind, only
from edgeward.pki.formats.pem import write as pem
from edgeward.pki.inspect import chain
from edgeward.transports.client_tls import CIPHERS
from edgeward.transports.contexts import load_pair

_log = logging.getLogger(__name__)

Source = str | os.PathLike[str] | bytes
"""A path, or the content itself as bytes (or as text with a PEM block in it): PEM, DER, PKCS#7, PKCS#12 or JKS."""

MAX_FILE = 8 * 1024 * 1024
"""Octets read from one file. A machine's whole bundle of roots has a quarter of a megabyte; a CRL of 8 MiB names 200,000 devices."""


class PairMismatch(InputError):
    """A private key that belongs to none of the certificates it was given with."""

    sentence = "the private key in {key} belongs to no certificate in {certificate}"
    remedy = "see which belong together: edgeward key match {key} {certificate}"


class KeyLocked(PasswordNeeded):
    """An encrypted key without a password, in a program."""

    remedy = "pass it: password=…"


class CertificateWarning(UserWarning):
    """Something about a certificate that peers will refuse it for: it has expired, or is not for this use."""


class Context(ssl.SSLContext):
    """A context that follows its files. What a program sets on it (versions, options, ALPN) survives a reload; certificates that a
    program adds to its pool do not. A program that sets `sni_callback` of its own turns the reloading at handshakes off."""

    _follower: "_Follower | None" = None
    _alpn: tuple[str, ...] = ()
    _mutual: bool = False

    def reload(self) -> None:
        """Read the files again now. Raises what the first reading would; then the old ones stay in use."""
        if self._follower is not None:
            self._follower.reload()

    def set_alpn_protocols(self, alpn_protocols: Any) -> None:
        """As the standard method, and remembered for reloads."""
        self._alpn = tuple(alpn_protocols)
        super().set_alpn_protocols(alpn_protocols)
        if self._follower is not None and self._follower.inner is not None:
            self._follower.inner.set_alpn_protocols(list(self._alpn))

    def wrap_socket(self, sock: Any, server_side: bool = False, *args: Any, **more: Any) -> ssl.SSLSocket:
        """As the standard method; a client reads changed files first."""
        fresh = None if server_side else self._fresh()
        if fresh is not None:
            return fresh.wrap_socket(sock, server_side, *args, **more)
        return super().wrap_socket(sock, server_side, *args, **more)

    def wrap_bio(
        self, incoming: Any, outgoing: Any, server_side: bool = False, *args: Any, **more: Any
    ) -> ssl.SSLObject:
        """As the standard method; a client reads changed files first."""
        fresh = None if server_side else self._fresh()
        if fresh is not None:
            return fresh.wrap_bio(incoming, outgoing, server_side, *args, **more)
        return super().wrap_bio(incoming, outgoing, server_side, *args, **more)

    def _fresh(self) -> ssl.SSLContext | None:
        return None if self._follower is None else self._follower.current()

    def _greeted(self, tls: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> int | None:
        """Called with every ClientHello, with a server name in it or without."""
        if self._mutual and tls.session_reused:
            return int(ssl.ALERT_DESCRIPTION_HANDSHAKE_FAILURE)
        fresh = self._fresh()
        if fresh is not None:
            tls.context = fresh
        return None


def server_context(
    *,
    certificate: Source,
    key: Source | None = None,
    client_ca: Source | Literal["system"] | None = None,
    require_client: bool | None = None,
    password: str | bytes | None = None,
    crl: Source | None = None,
    alpn: Sequence[str] = (),
    reload: bool = True,
) -> Context:
    """The context of a server.

    `certificate`: the server's own and, in any order, its intermediates. `key`: its private key in PKCS#8, SEC1 or PKCS#1; None when it
    is in the same file, as in a PKCS#12. `password` opens what is encrypted. `client_ca`: the CAs whose clients are let in; None for
    one-way TLS. `require_client` False asks for a certificate and lets clients without one in (a wrong one is still refused); None and
    True require it. `crl`: the revocation lists of every issuer of clients, in PEM or DER; then a client whose issuer has none, or an
    outdated one, is refused. `alpn`: the protocols offered, best first. `reload` False reads the files once.

    Raises `NotFound` (no such file), `Unreadable`, `WrongKind`, `WrongPassword`, `KeyLocked`, `PairMismatch`, and `UsageError` for a
    combination that makes no sense. Warns with `CertificateWarning` of a certificate that clients will refuse.
    """
    if certificate is None:
        raise UsageError(problem="a server needs a certificate")
    if client_ca is None and (require_client or crl is not None):
        raise UsageError(
            problem="require_client and crl need client_ca: the CAs whose certificates clients are to show"
        )
    inputs = _Inputs(
        server=True, certificate=certificate, key=key, authorities=client_ca, crl=crl, password=_text(password)
    )
    context = _plain(Context, server=True, mutual=client_ca is not None)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_OPTIONAL if require_client is False else ssl.CERT_REQUIRED
        context._mutual = True
    return _finished(context, inputs, alpn, follow=reload)


def client_context(
    ca: Source | Literal["system"],
    *,
    certificate: Source | None = None,
    key: Source | None = None,
    password: str | bytes | None = None,
    crl: Source | None = None,
    alpn: Sequence[str] = (),
    reload: bool = True,
) -> Context:
    """The context of a client.

    `ca`: the CAs whose servers are believed, or `"system"` for the machine's own roots. `certificate` and `key`: the client's pair, for
    mutual TLS. The server's name is always checked; give it as `server_hostname` where the program does not. Everything else, and what is
    raised, as for `server_context`.
    """
    if ca is None:
        raise UsageError(problem='say whom to believe: ca=PATH, or ca="system" for the machine\'s own roots')
    if certificate is None and key is not None:
        raise UsageError(problem="a key needs its certificate: certificate=…")
    inputs = _Inputs(server=False, certificate=certificate, key=key, authorities=ca, crl=crl, password=_text(password))
    return _finished(_plain(Context, server=False, mutual=certificate is not None), inputs, alpn, follow=reload)


# ------------------------------------------------------------------------------------------------------------------ building


def _text(password: str | bytes | None) -> str | None:
    return password.decode("utf-8", "surrogateescape") if isinstance(password, bytes) else password


@dataclass(frozen=True, slots=True, kw_only=True)
class _Inputs:
    """What a context is made of."""

    server: bool
    certificate: Source | None
    key: Source | None
    authorities: Source | None
    crl: Source | None
    password: str | None = field(repr=False)

    def stamp(self) -> tuple[tuple[int, int, int] | None, ...]:
        """What changes when one of the files does."""
        stamps: list[tuple[int, int, int] | None] = []
        for source in (self.certificate, self.key, self.authorities, self.crl):
            if source is None or source == "system" or _content(source) is not None:
                continue
            try:
                found = Path(_shown(source)).stat()  # follows links: Kubernetes swaps the directory behind one
                stamps.append((found.st_mtime_ns, found.st_size, found.st_ino))
            except (OSError, ValueError):
                stamps.append(None)
        return tuple(stamps)

    def load(self, context: ssl.SSLContext, complain: Callable[[str], None]) -> None:
        """Put the pair, the pool and the lists into `context`."""
        if self.certificate is not None:
            certificates, key = _pair(self.certificate, self.key, self.password)
            _judge(certificates[0], self.server, _shown(self.certificate), complain)
            load_pair(context, b"".join(pem("CERTIFICATE", _der(each)) for each in certificates), key)
        if self.authorities == "system":
            context.load_default_certs(ssl.Purpose.CLIENT_AUTH if self.server else ssl.Purpose.SERVER_AUTH)
        elif self.authorities is not None:
            found = of_kind(_items(self.authorities, self.password), Kind.CERTIFICATE, _shown(self.authorities))
            context.load_verify_locations(cadata=b"".join(_der(parse.certificate(item.data)) for item in found))
        if self.crl is not None:
            for item in of_kind(_items(self.crl, None), Kind.CRL, _shown(self.crl)):
                parse.crl(item.data)
                _load_crl(context, pem("X509 CRL", item.data))
            context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF


def _plain(kind: type[Context], *, server: bool, mutual: bool) -> Context:
    context = kind(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    _strict(context, mutual=mutual)
    return context


def _strict(context: ssl.SSLContext, *, mutual: bool) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    # A private CA may lack what VERIFY_X509_STRICT asks for, as those of `openssl req -x509` and of KubeEdge do.
    context.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    if mutual:
        context.options |= ssl.OP_NO_TICKET
        if context.protocol == ssl.PROTOCOL_TLS_SERVER:
            context.num_tickets = 0


def _finished(context: Context, inputs: _Inputs, alpn: Sequence[str], *, follow: bool) -> Context:
    stamp = inputs.stamp()
    inputs.load(context, lambda text: warnings.warn(text, CertificateWarning, stacklevel=5))
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if follow and stamp:
        context._follower = _Follower(context, inputs, stamp)
    if inputs.server:
        # The stub of ssl wants the socket's type alone; an SSLObject comes here too.
        context.sni_callback = context._greeted
    return context


class _Follower:
    """The files of one context, and the context that was made of them last, if they have changed at all."""

    def __init__(self, context: Context, inputs: _Inputs, stamp: tuple[tuple[int, int, int] | None, ...]) -> None:
        self._context = context
        self._inputs = inputs
        self._stamp = stamp
        self._lock = threading.Lock()
        self.inner: ssl.SSLContext | None = None

    def current(self) -> ssl.SSLContext | None:
        """The newest context, or None while that is the first. Never raises: a connection goes on with what there is."""
        if self._lock.acquire(blocking=False):  # another thread is at it already: go on with what there is
            try:
                stamp = self._inputs.stamp()
                if stamp != self._stamp:
                    self._stamp = stamp
                    self._build()
                    _log.info("read the changed certificate files again")
            except (EdgewardError, OSError) as error:
                _log.warning("the changed certificate files are not used, the old ones stay: %s", error)
            finally:
                self._lock.release()
        return self.inner

    def reload(self) -> None:
        """Read the files now. Raises."""
        with self._lock:
            self._stamp = self._inputs.stamp()
            self._build()

    def _build(self) -> None:
        outer = self._context
        inner = ssl.SSLContext(outer.protocol)
        _strict(inner, mutual=False)
        inner.check_hostname = False
        inner.verify_mode = outer.verify_mode
        inner.check_hostname = outer.check_hostname
        inner.verify_flags = outer.verify_flags
        inner.options = outer.options
        inner.minimum_version, inner.maximum_version = outer.minimum_version, outer.maximum_version
        inner.post_handshake_auth = outer.post_handshake_auth
        if self._inputs.server:
            inner.num_tickets = outer.num_tickets
        if outer._alpn:
            inner.set_alpn_protocols(list(outer._alpn))
        self._inputs.load(inner, _log.warning)
        self.inner = inner


# ------------------------------------------------------------------------------------------------------------------- reading


def _content(source: Source) -> bytes | None:
    """The content, where `source` is content and no path."""
    if isinstance(source, bytes):
        return source
    return source.encode() if isinstance(source, str) and "-----BEGIN" in source else None


def _shown(source: Source) -> str:
    return "the bytes given" if _content(source) is not None else os.fsdecode(source)


def _octets(source: Source) -> bytes:
    content = _content(source)
    if content is not None:
        return content
    name = _shown(source)
    if not name:
        raise UsageError(problem="the path is empty")
    try:
        with Path(name).open("rb") as file:
            octets = file.read(MAX_FILE + 1)
    except FileNotFoundError as error:
        raise NotFound(what="file", name=name) from error
    except (OSError, ValueError) as error:  # a ValueError for a path with a NUL in it
        raise Unavailable(problem=f"cannot read {name}: {getattr(error, 'strerror', error)}") from error
    if len(octets) > MAX_FILE:
        raise TooLarge(what=name, limit=MAX_FILE)
    return octets


def _items(source: Source, password: str | None) -> list[Item]:
    """Everything in `source`; a wrong or missing password and bytes that are nothing known are said with the name."""
    name = _shown(source)
    try:
        found = list(leaves(detect(_octets(source), password=password)))
        for item in found:
            if item.problem is not None and item.kind is not Kind.ENCRYPTED_KEY:
                raise item.problem
    except Unreadable as error:
        raise Unreadable(what=f"{error.facts['what']} ({name})", why=error.facts["why"]) from error
    except PasswordNeeded as error:
        raise KeyLocked(what=name) from error
    except WrongPassword as error:
        raise WrongPassword(what=name) from error
    return found


def _pair(
    certificate: Source, key: Source | None, password: str | None
) -> tuple[list[x509.Certificate], PrivateKeyTypes]:
    """The chain to send, its leaf first, and the leaf's private key."""
    name, key_name = _shown(certificate), _shown(certificate if key is None else key)
    items = _items(certificate, password)
    heap = [item for item in items if item.kind is Kind.CERTIFICATE]
    if not heap:
        of_kind([item for item in items if item.problem is None], Kind.CERTIFICATE, name)
    private = _private_key(items if key is None else _items(key, password), key_name)
    family = chain.family([parse.certificate(item.data) for item in heap])
    digest = chain.key_digest(private.public_key())
    places = [place for place, each in enumerate(family.certificates) if chain.spki_digest(each) == digest]
    if not places:
        raise PairMismatch(key=key_name, certificate=name)
    path = family.path(places[0])
    # The root is no part of what is sent: whoever trusts it has it.
    sent = [place for place in path if place == path[0] or not family.is_root(place)]
    return [family.certificates[place] for place in sent], private


def _private_key(items: list[Item], name: str) -> PrivateKeyTypes:
    for item in items:
        if item.kind is Kind.ENCRYPTED_KEY and isinstance(item.problem, PasswordNeeded):
            raise KeyLocked(what=name) from item.problem
        if item.kind is Kind.ENCRYPTED_KEY and isinstance(item.problem, WrongPassword):
            raise WrongPassword(what=name) from item.problem
    return pkcs8.read(only(items, Kind.PRIVATE_KEY, name).data, what=name)


def _judge(leaf: x509.Certificate, server: bool, name: str, complain: Callable[[str], None]) -> None:
    """Say what peers will refuse `leaf` for."""
    now = datetime.now(UTC)
    if leaf.not_valid_after_utc < now:
        complain(f"the certificate in {name} expired at {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC: peers refuse it")
    if leaf.not_valid_before_utc > now:
        complain(f"the certificate in {name} is not valid before {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC")
    wanted = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
    for extension in leaf.extensions:
        if isinstance(extension.value, x509.ExtendedKeyUsage):
            purposes = set(extension.value)
            if not purposes & {wanted, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}:
                use = "server" if server else "client"
                complain(f"the certificate in {name} is not for a {use} (no {use}Auth): peers refuse it")


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def _load_crl(context: ssl.SSLContext, text: bytes) -> None:
    """Add one CRL, which the ssl module takes from a file only."""
    with tempfile.NamedTemporaryFile(prefix="edgeward-", suffix=".crl") as file:
        file.write(text)
        file.flush()
        context.load_verify_locations(cafile=file.name)


__all__ = [
    "CertificateWarning",
    "Context",
    "KeyLocked",
    "PairMismatch",
    "Source",
    "WrongKind",
    "client_context",
    "server_context",
]
