"""What the fuzzer feeds: each reader takes mutated octets and says whether it could read them; anything but an `EdgewardError` is a
failure. `READERS` is the table from a reader's name to it and to what is mutated for it.
"""

import contextlib
import json
import random
from collections.abc import Callable
from typing import NamedTuple

from cryptography import x509

from edgeward.errors import EdgewardError, InputError
from edgeward.model.jwt import KubeEdgeJwt
from edgeward.model.token import Bearer, JoinToken
from edgeward.pki import csr, keys, lint, names, parse, requests
from edgeward.pki.formats.detect import detect
from edgeward.pki.formats.item import Item, Kind, leaves, opened
from edgeward.pki.inspect import asn1_text, compare, describe, text
from edgeward.pki.verify import NameKind, PeerName, Profile, Question, verify
from tests.tools import readers_wire, seeds

Read = Callable[[bytes, random.Random], bool]


class Reader(NamedTuple):
    """A reader, and the seeds that are mutated for it."""

    read: Read
    seeds: Callable[[], dict[str, bytes]]


def files(data: bytes, dice: random.Random) -> bool:
    """What `inspect`, `convert` and their like do with a file: find out what it is, describe it, draw it, compare it."""
    try:
        items = detect(data, password=dice.choice((None, seeds.PASSWORD, "")), name=dice.choice(("x.pem", "x.der", "")))
    except EdgewardError:
        return False
    report = describe.together(items, seeds.NOW)
    json.dumps(report.as_json())
    for line in text.lines(report):
        if not line.isprintable():
            raise AssertionError(f"not printable: {line!r}")
    for item in items:
        _draw(item)
    try:
        opened(items)
    except EdgewardError:
        return False
    return True


def _draw(item: Item) -> None:
    for leaf in [item, *leaves([item])]:
        with contextlib.suppress(EdgewardError):
            if leaf.data and leaf.kind is not Kind.KUBEEDGE_TOKEN:
                for _ in asn1_text.lines(leaf.data, leaf.kind):
                    pass


def gateway(data: bytes, _dice: random.Random) -> bool:
    """The strict gateway for certificates, requests and revocation lists, and what is done with them next. What it refuses is refused
    as the input's fault."""
    done = False
    for read in (_certificate, csr.requested, parse.crl):
        try:
            read(data)
            done = True
        except EdgewardError as error:
            if not isinstance(error, InputError):
                raise AssertionError(f"{type(error).__name__} is no fault of an input") from error
    return done


def _certificate(data: bytes) -> None:
    certificate = parse.certificate(data)
    with contextlib.suppress(EdgewardError):
        keys.weaknesses(parse.public_key(certificate))
    lint.lint([certificate], seeds.NOW)
    report = describe.together(detect(data, name="x.der"), seeds.NOW)
    for _ in compare.differences(report, report):
        pass


def path(data: bytes, dice: random.Random) -> bool:
    """`verify` with the mutated octets as one of its inputs: leaf, intermediate, anchor, revocation list or OCSP answer."""
    good = seeds.path()
    place = dice.choice(list(good))
    given = good | {place: data}
    question = Question(names=(PeerName(NameKind.DNS, "edge-1.example"),), profile=dice.choice(list(Profile)))
    try:
        verdict = verify(
            given["leaf"],
            now=seeds.NOW,
            anchors=[given["root"]],
            intermediates=[given["middle"]],
            question=question,
            crl=[given["crl"]],
            ocsp_responses=[given["ocsp"]],
        )
    except EdgewardError:
        return False
    json.dumps(verdict.as_json())
    if verdict.valid and given["leaf"] != good["leaf"]:
        raise AssertionError("a certificate that nobody signed is valid")
    return True


def typed(data: bytes, _dice: random.Random) -> bool:
    """What reads the text that people and edges type: names, subjects, tokens."""
    words = data.decode("utf-8", "replace")
    done = False
    readers: tuple[Callable[[str], object], ...] = (
        requests.subject,
        requests.alternative_name,
        names.node_name,
        names.server_name,
        names.network,
        JoinToken.parse,
        Bearer.parse,
        KubeEdgeJwt.parse,
        lambda text: JoinToken.parse(text).hints,
    )
    for reader in readers:
        with contextlib.suppress(EdgewardError):
            done = reader(words) is not None or done
    return done


_TYPED = {
    f"typed {number}": text.encode()
    for number, text in enumerate(
        (
            "/O=Example/CN=web",
            "CN=web,O=Example",
            "dns:a.b",
            "ip:::1",
            "other:1.2;UTF8:x",
            "dirname:/CN=x",
            "rid:1.2.3",
            "a@b",
            "edge-1",
            "10.0.0.0/8",
            seeds.TOKEN,
            seeds.TOKEN.partition(".")[2],
        )
    )
}


def _der(*kinds: type) -> dict[str, bytes]:
    """The seeds that are one certificate, request or list in DER."""
    found = {}
    for name, octets in seeds.seeds().items():
        with contextlib.suppress(EdgewardError, ValueError):
            for number, item in enumerate(leaves(detect(octets, password=seeds.PASSWORD, name=name))):
                for kind, load in _LOADERS.items():
                    with contextlib.suppress(EdgewardError):
                        if kind in kinds and load(item.data):
                            found[f"{name} {number}"] = item.data
    return found


_LOADERS: dict[type, Callable[[bytes], object]] = {
    x509.Certificate: parse.certificate,
    x509.CertificateSigningRequest: parse.certificate_request,
    x509.CertificateRevocationList: parse.crl,
}

READERS: dict[str, Reader] = {
    "files": Reader(files, seeds.seeds),
    "gateway": Reader(gateway, lambda: _der(*_LOADERS)),
    "path": Reader(path, lambda: seeds.path() | _der(x509.Certificate, x509.CertificateRevocationList)),
    "typed": Reader(typed, lambda: _TYPED),
    "frames": Reader(readers_wire.frames, readers_wire.framed),
    "messages": Reader(readers_wire.messages, readers_wire.said),
    "quic": Reader(readers_wire.quic, readers_wire.packed),
}
