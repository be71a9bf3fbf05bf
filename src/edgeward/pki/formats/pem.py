"""PEM: taking text apart into blocks whatever surrounds them, and writing blocks as everybody reads them.

Reading is generous about what people's editors and mail programs do (CRLF, a byte order mark, UTF-16, indentation,
text between the blocks) and says so; it is strict about what is inside the lines. Nothing is guessed: a block without
its END line is an error. RFC 7468, and RFC 1421 for the headers of old encrypted keys.
"""

import base64
import binascii
import re
from typing import NamedTuple

from edgeward.errors import EdgewardError, TooLarge, Unreadable

MAX_BLOCKS = 5_000
"""Blocks in one text: the biggest public bundle of roots has 150, a stress test 1,000."""

MAX_HEADERS = 16 * 1024
"""Octets of headers in one block. Two lines of 80 are usual."""

_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 #.]{0,64}?)-----")
_HEADER = rb"[A-Za-z0-9-]{1,64}:"


class Block(NamedTuple):
    """One PEM block: its label, headers and content, or what is wrong with it."""

    label: str
    line: int
    """The line of its BEGIN, counted from 1."""
    data: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    problem: EdgewardError | None = None

    def __repr__(self) -> str:  # without the data, which may be a private key
        return f"<Block: {self.label}, line {self.line}, {len(self.data)} octets>"


class Text(NamedTuple):
    """A text with PEM in it: its blocks and what is unusual around them."""

    blocks: tuple[Block, ...]
    notes: tuple[str, ...]


def decode_text(octets: bytes) -> tuple[bytes, list[str]]:
    """`octets` as plain text octets and notes on what was in the way: a byte order mark, UTF-16, CRLF."""
    notes = []
    if octets[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        notes.append("UTF-16 text (as PowerShell's > writes it): most programs do not read this")
        octets = octets.decode("utf-16", "replace").encode("utf-8", "replace")
    if octets.startswith(b"\xef\xbb\xbf"):
        notes.append("a byte order mark (BOM) at the start: some programs do not find the first block")
        octets = octets[3:]
    if b"\r\n" in octets:
        notes.append("Windows line ends (CRLF)")
    return octets, notes


def read(octets: bytes) -> Text | None:
    """The PEM blocks in `octets`, or None where there is no BEGIN line at all.

    A block that cannot be read carries its `problem`; the others are not harmed. Raises `TooLarge` for more than
    `MAX_BLOCKS`.
    """
    text, notes = decode_text(octets)
    blocks: list[Block] = []
    at = outside = 0
    line, counted = 1, 0
    while begin := _BEGIN.search(text, at):
        if len(blocks) >= MAX_BLOCKS:
            raise TooLarge(what=f"the PEM text ({MAX_BLOCKS} blocks and more)", limit=begin.start())
        outside += len(text[at : begin.start()].strip())
        line += text.count(b"\n", counted, begin.start())
        counted = begin.start()
        block, at = _block(text, begin, line)
        blocks.append(block)
    if not blocks:
        return None
    outside += len(text[at:].strip())
    if outside:
        notes.append(f"{outside} characters of text around the PEM blocks")
    return Text(blocks=tuple(blocks), notes=tuple(notes))


def _block(text: bytes, begin: re.Match[bytes], line: int) -> tuple[Block, int]:
    label = begin[1].decode("ascii")
    end = b"-----END " + begin[1] + b"-----"
    stop = text.find(b"-----", begin.end())
    if stop < 0 or not text.startswith(end, stop):
        why = (
            f"PEM block at line {line} has no END line: the text was cut off"
            if stop < 0
            else f"PEM block at line {line} begins as {label!r} and does not end as it"
        )
        resume = len(text) if stop < 0 else stop if text.startswith(b"-----BEGIN", stop) else stop + 5
        return Block(label=label, line=line, problem=Unreadable(what="PEM", why=why)), resume
    behind = stop + len(end)
    body = text[begin.end() : stop]
    try:
        headers, body = _headers(body, line)
        return Block(label=label, line=line, headers=headers, data=_decoded(body, line)), behind
    except EdgewardError as error:
        return Block(label=label, line=line, problem=error), behind


def _headers(body: bytes, line: int) -> tuple[tuple[tuple[str, str], ...], bytes]:
    if b":" not in body:
        return (), body
    last = body.rfind(b":")
    if last > MAX_HEADERS:
        raise TooLarge(what=f"the header of the PEM block at line {line}", limit=MAX_HEADERS)
    headers: list[tuple[str, str]] = []
    lines = body.lstrip(b"\r\n").splitlines()
    for i, text in enumerate(lines):
        if not text.strip():
            return tuple(headers), b"\n".join(lines[i + 1 :])
        if re.match(_HEADER, text):
            name, _, value = text.decode("utf-8", "replace").partition(":")
            headers.append((name, value.strip()))
        elif headers and text[:1] in b" \t":
            headers[-1] = (headers[-1][0], headers[-1][1] + text.strip().decode("utf-8", "replace"))
        else:
            break
    raise Unreadable(what="PEM", why=f"the headers of the block at line {line} do not end with an empty line")


def _decoded(body: bytes, line: int) -> bytes:
    try:
        data = base64.b64decode(b"".join(body.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        bad = re.search(rb"[^A-Za-z0-9+/=\s]", body)
        where = line + body.count(b"\n", 0, bad.start()) if bad else line
        why = (
            f"line {where} is not base64"
            if bad
            else f"the base64 of the block at line {line} is cut off or padded wrongly"
        )
        raise Unreadable(what="PEM", why=why) from error
    if not data:
        raise Unreadable(what="PEM", why=f"the block at line {line} is empty")
    return data


def bare_base64(octets: bytes) -> bytes | None:
    """The DER in `octets` when they are nothing but base64 of a SEQUENCE; None otherwise."""
    text, _ = decode_text(octets)
    squeezed = b"".join(text.split())
    if not squeezed.startswith(b"M") or len(squeezed) % 4:
        return None
    try:
        data = base64.b64decode(squeezed, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if data[:1] == b"\x30" else None


def write(label: str, data: bytes) -> bytes:
    """One block: 64 characters on a line, LF, a line end behind the last. RFC 7468 section 2."""
    encoded = base64.b64encode(data)
    lines = [encoded[i : i + 64] for i in range(0, len(encoded), 64)]
    name = label.encode("ascii")
    return b"\n".join((b"-----BEGIN " + name + b"-----", *lines, b"-----END " + name + b"-----", b""))
