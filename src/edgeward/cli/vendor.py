"""A vendor's request on its way in: the one CSR in a file, checked here or in a process of its own. Light, because workers load it."""

from dataclasses import dataclass
from pathlib import Path

from edgeward.errors import EdgewardError, TooLarge, Unreadable
from edgeward.pki import csr, parse, pem

_REQUEST_LABELS = ("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")

LIMIT = 2 * parse.MAX_REQUEST
"""Octets of a file with a CSR: PEM is a third longer than DER, and people paste words around it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A file that was read: the DER of its request, whose signature holds; or what is wrong, and what to do about it."""

    name: str
    der: bytes = b""
    error: str = ""
    hint: str = ""
    status: int = 0


def check(name: str) -> Checked:
    """Read the CSR in the file `name` and check it. Every failure is in the answer."""
    try:
        with Path(name).open("rb") as file:
            octets = file.read(LIMIT + 1)
        if len(octets) > LIMIT:
            raise TooLarge(what="the file", limit=LIMIT)
        return checked(name, octets)
    except EdgewardError as error:
        return Checked(name=name, error=str(error), hint=error.hint, status=error.exit_status)
    except (OSError, ValueError) as error:
        return Checked(name=name, error=(getattr(error, "strerror", None) or str(error)).lower(), status=69)


def checked(name: str, octets: bytes) -> Checked:
    """The CSR in `octets`, checked. Raises what is wrong with it."""
    der = request_der(octets)
    csr.requested(der)
    return Checked(name=name, der=der)


def request_der(octets: bytes) -> bytes:
    """The DER of the one certificate request in `octets`, PEM or DER. Raises `Unreadable` that says what is there instead."""
    if b"-----BEGIN" not in octets:
        return octets
    blocks = pem.decode(octets)
    requests = [block for block in blocks if block.label in _REQUEST_LABELS]
    if len(requests) == 1:
        return requests[0].der
    if requests:
        raise Unreadable(what="certificate request", why=f"there are {len(requests)} of them; sign one at a time")
    if any("PRIVATE KEY" in block.label for block in blocks):
        raise Unreadable(what="certificate request", why="this is a private key: keep it to yourself, and send the CSR")
    found = ", ".join(sorted({block.label for block in blocks})) or "a broken PEM block"
    raise Unreadable(what="certificate request", why=f"this is {found}")
