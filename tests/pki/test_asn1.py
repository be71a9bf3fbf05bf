"""The ASN.1 reader: agrees with openssl's, survives anything, and turns BER into DER."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeward.errors import EdgewardError, TooLarge, Unreadable
from edgeward.pki import asn1, der
from edgeward.pki.formats.item import Kind
from edgeward.pki.inspect import asn1_text
from tests.support.programs import needs, ran
from tests.tools import seeds


@needs("openssl")
@pytest.mark.parametrize("name", ["certificate.der", "request.der", "ocsp-answer.der", "bundle.p7b"])
def test_offsets_and_lengths_are_openssls(tmp_path: Path, name: str) -> None:
    data = seeds.seeds()[name]
    (tmp_path / "x").write_bytes(data)
    theirs = [
        (int(line[1]), int(line[2]), int(line[3]))
        for line in re.finditer(
            r"^ *(\d+):d=\d+ +hl=(\d+) +l= *(\d+)",
            ran("openssl", "asn1parse", "-inform", "DER", "-in", tmp_path / "x").decode(),
            re.M,
        )
    ]
    ours = [(node.offset, node.header, node.length) for node in asn1.exactly(data, "x").walk()]
    assert ours == theirs


@given(st.binary(max_size=300))
def test_anything_is_read_or_refused(data: bytes) -> None:
    try:
        node, rest = asn1.read(data)
    except (Unreadable, TooLarge):
        return
    assert node.end + rest == len(data)
    assert asn1.to_der(asn1.exactly(asn1.to_der(node), "again")) == asn1.to_der(node)


_VALUES = st.recursive(
    st.one_of(
        st.integers(-(2**70), 2**70).map(der.integer),
        st.binary(max_size=200).map(der.octet_string),
        st.text(max_size=20).map(der.utf8),
        st.just(der.null()),
    ),
    lambda inner: st.lists(inner, max_size=5).map(lambda parts: der.sequence(*parts)),
    max_leaves=20,
)


@given(_VALUES)
def test_what_the_writer_writes_is_der_and_reads_back(value: bytes) -> None:
    node = asn1.exactly(value, "value")
    assert asn1.to_der(node) == value
    assert not any(inner.not_der for inner in node.walk())


@given(st.integers(-(2**200), 2**200))
def test_integers_round_trip(value: int) -> None:
    assert asn1.integer_of(asn1.exactly(der.integer(value), "integer")) == value


@given(st.tuples(st.integers(0, 1), st.integers(0, 39), st.lists(st.integers(0, 2**40), max_size=6)))
def test_object_identifiers_round_trip(arcs: tuple[int, int, list[int]]) -> None:
    text = ".".join(str(arc) for arc in (arcs[0], arcs[1], *arcs[2]))
    assert asn1.oid_of(asn1.exactly(der.oid(text), "oid")) == text


def test_ber_becomes_der() -> None:
    pieces = b"\x24\x80\x04\x02ab\x04\x01c\x00\x00"
    ber = b"\x30\x80" + pieces + b"\x02\x81\x01\x05\x00\x00"
    node = asn1.exactly(ber, "value")
    assert {inner.not_der for inner in node.walk() if inner.not_der} == {
        "indefinite length",
        "a length that is longer than needed",
    }
    assert asn1.to_der(node) == der.sequence(der.octet_string(b"abc"), der.integer(5))


@pytest.mark.parametrize(
    "bomb",
    [
        b"\x30\x80" * 100_000,
        b"\x30\x84\xff\xff\xff\xff",
        b"\x30\x82\x27\x10" + b"\x05\x00" * 20_000,
        b"\x1f" + b"\xff" * 1000,
    ],
    ids=["deep", "long", "wide", "endless tag"],
)
@pytest.mark.timeout(5)
def test_bombs_are_refused(bomb: bytes) -> None:
    with pytest.raises(EdgewardError):
        asn1.exactly(bomb, "value")


def test_the_tree_names_fields_and_never_shows_a_key() -> None:
    tree = "\n".join(asn1_text.lines(seeds.seeds()["certificate.der"], Kind.CERTIFICATE))
    for name in (
        "tbsCertificate",
        "notAfter",
        "subjectPublicKeyInfo",
        "extnValue (subjectAltName)",
        "ecdsa-with-SHA256",
    ):
        assert name in tree
    private = seeds.seeds()["key.der"]
    for kind in (Kind.PRIVATE_KEY, Kind.ASN1):
        tree = "\n".join(asn1_text.lines(private, kind))
        assert "(a secret, not shown)" in tree
        assert f"{9:064X}"[-8:] not in tree.replace(":", "")
