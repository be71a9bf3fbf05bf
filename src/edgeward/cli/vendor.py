"""A vendor's request on its way in: the one CSR in a file, checked here or in a process of its own. Light, because workers load it."""

import os

from edgeward.errors import EdgewardError, TooLarge, Unavailable, Unreadable
from edgeward.pki import csr, parse, pem
from edgeward.pki.csr import Requested
from edgeward.pki.formats.detect import detect
from edgeward.pki.formats.item import leaves

_REQUEST_LABELS = ("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")

LIMIT = 2 * parse.MAX_REQUEST
"""Octets of a file with a CSR: PEM is a third longer than DER, and people paste words around it."""


def request_in(name: str) -> Requested:
    """The CSR in the file `name`, its signature checked. Raises what is wrong with it, or `Unavailable` when it cannot be read."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            octets = os.read(descriptor, LIMIT + 1)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        raise Unavailable(problem=(getattr(error, "strerror", None) or str(error)).lower()) from error
    return request(octets)


def request(octets: bytes) -> Requested:
    """The one CSR in `octets`, PEM or DER, its signature checked. Raises what is wrong with it."""
    if len(octets) > LIMIT:
        raise TooLarge(what="the file", limit=LIMIT)
    try:
        return csr.requested(request_der(octets))
    except Unreadable as error:
        raise _diagnosed(octets) or error from error


def _diagnosed(octets: bytes) -> EdgewardError | None:
    """What is wrong with what is no request, in better words than a parser's; None when there are none."""
    if b"PRIVATE KEY" in octets:  # whatever else is wrong with it, that is what there is to say
        return None
    try:
        return next((item.problem for item in leaves(detect(octets)) if item.problem is not None), None)
    except EdgewardError as error:
        return error


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
