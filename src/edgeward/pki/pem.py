"""PEM in its strict form: labelled base64 blocks, as we write them and as our own files hold them. RFC 7468 section 3.

Reading what people have (headers, white space, several kinds in one file) is the business of `pki.formats`.
"""

import base64
import binascii
import re
from dataclasses import dataclass

from edgeward.errors import Unreadable

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,64})-----([A-Za-z0-9+/=\s]*)-----END \1-----")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One PEM block: its label and the octets in it."""

    label: str
    der: bytes


def encode(label: str, der: bytes) -> bytes:
    """`der` as one PEM block with lines of 64 characters."""
    text = base64.b64encode(der)
    lines = [text[i : i + 64] for i in range(0, len(text), 64)]
    return b"\n".join([b"-----BEGIN %s-----" % label.encode(), *lines, b"-----END %s-----" % label.encode(), b""])


def decode(text: bytes) -> list[Block]:
    """Every block in `text`, in order. Raises `Unreadable` for one whose base64 is broken."""
    found = []
    for match in _BLOCK.finditer(text):
        try:
            der = base64.b64decode(b"".join(match[2].split()), validate=True)
        except binascii.Error as error:
            raise Unreadable(what="PEM block", why=f"its base64 is broken: {error}") from error
        found.append(Block(label=match[1].decode(), der=der))
    return found
