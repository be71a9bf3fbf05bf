"""`edgeward doctor TEXT` and `-`: a pasted error, or a log from standard input, explained."""

import codecs
import sys
from collections.abc import Iterator
from typing import BinaryIO

from edgeward.cli.doctor import Asked
from edgeward.model.diagnosis import Diagnosis
from edgeward.services.doctor import recognise
from edgeward.services.doctor.catalogue import finding
from edgeward.services.doctor.entries import ENTRIES

PIECE = 1024 * 1024
"""Octets that are read at a time."""

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


def examine(asked: Asked) -> Diagnosis:
    """The diagnosis of a text. What nothing is known of is said to be unknown, and is a finding too."""
    reader = recognise.Reader()
    piped = asked.things == ("-",)
    for text in pieces(sys.stdin.buffer) if piped else (" ".join(asked.things) + "\n",):
        reader.feed(text)
    reader.finish()
    subject = "standard input" if piped else "the pasted text"
    findings = tuple(reader.findings)
    if not findings:
        findings = (finding(ENTRIES["unknown-text"], {"detail": _unknown(reader)}),)
    return Diagnosis(
        subject=subject,
        findings=findings,
        facts={"lines": reader.lines, "recognised": reader.sighted, "not_recognised": reader.unheard},
    )


def _unknown(reader: recognise.Reader) -> str:
    if not reader.lines or (reader.lines == 1 and not reader.unheard):
        return "Errors of KubeEdge, Go, OpenSSL, Java, Node, Python, nginx, mosquitto, browsers, GnuTLS, rustls and Windows are known."
    looks = (
        f"{reader.unheard} of them look like errors and are of a kind that is not known here"
        if reader.unheard
        else "none looks like one"
    )
    return f"{reader.lines} lines were read, and {looks}."


def pieces(stream: BinaryIO) -> Iterator[str]:
    """A stream as text, whole lines at a time. Octets that are no UTF-8 become replacement characters; UTF-16 is known by its mark. A
    line longer than a piece is cut."""
    first = stream.read(PIECE)
    encoding, skip = next(((name, len(bom)) for bom, name in _BOMS if first.startswith(bom)), ("utf-8", 0))
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    rest, octets = "", first[skip:]
    while octets:
        text = rest + decoder.decode(octets)
        end = text.rfind("\n") + 1
        if not end and len(text) > PIECE:
            end = len(text)
        if end:
            yield text[:end].replace("\x00", "")
        rest = text[end:]
        octets = stream.read(PIECE)
    rest += decoder.decode(b"", final=True)
    if rest:
        yield rest + "\n"
