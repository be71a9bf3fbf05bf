"""Node names, DNS names, addresses, and the node that a subject names."""

import ipaddress

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from edgeward.errors import BadName
from edgeward.pki import names

NODE_NAMES = ["a", "0", "edge-1", "a.b", "a--b", "x" * 52, "1.2.3.4", "xn--bcher-kva", "con", "a" * 50 + ".b"]

NOT_NODE_NAMES = [
    *(
        "",
        " ",
        "A",
        "edge_1",
        "-a",
        "a-",
        ".a",
        "a.",
        "a..b",
        "a/b",
        "a\\b",
        "a\0b",
        "a\nb",
        "edge-1\n",
        " edge-1",
        "a b",
        "*",
        "a*",
    ),
    *(
        "../../etc/x",
        ".",
        "..",
        "%2e%2e",
        "CON",
        "\u0435dge-1",
        "edge\u202e1",
        "\uff41",
        "\u0131",
        "\u00b2",
        "a'b",
        'a"b',
        "a;b",
        "x" * 53,
    ),
    *("a" * 64, "a" * 10_240, "x." * 26 + "x", "ünde", "\ud800", "１", "٣"),
]


@pytest.mark.parametrize("name", NODE_NAMES)
def test_node_names(name: str) -> None:
    assert names.node_name(name) == name


@pytest.mark.parametrize("name", NOT_NODE_NAMES)
def test_t08_t09_what_is_no_node_name_is_refused_in_one_printable_line(name: str) -> None:
    with pytest.raises(BadName) as caught:
        names.node_name(name)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


@given(st.text(max_size=60))
def test_a_node_name_is_lower_case_ascii_without_any_mark_but_dot_and_hyphen(text: str) -> None:
    try:
        names.node_name(text)
    except BadName:
        return
    assert 1 <= len(text) <= 52
    assert set(text) <= set("abcdefghijklmnopqrstuvwxyz0123456789-.")
    assert all(label and label[0] != "-" and label[-1] != "-" for label in text.split("."))


@pytest.mark.parametrize(
    "name", ["localhost", "a.example", "a" * 63 + ".example", "1.example", "xn--bcher-kva.example", "4ever"]
)
def test_dns_names(name: str) -> None:
    assert names.dns_name(name) == name
    assert names.server_name(name) == x509.DNSName(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "*.example",
        "a.",
        "Ä.example",
        "a_b",
        "1.2.3",
        "256.256.256.256",
        "a.1",
        "a" * 64,
        "x." * 127 + "x",
        "a b",
        "http://a",
        "a:1",
        "[a]",
    ],
)
def test_what_is_no_dns_name_is_refused(name: str) -> None:
    for read in (names.dns_name, names.server_name):
        with pytest.raises(BadName):
            read(name)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        *(
            ("10.0.0.1", "10.0.0.1"),
            ("[fd00::1]", "fd00::1"),
            ("FD00:0::1", "fd00::1"),
            ("::1", "::1"),
            ("Edge.Example", "edge.example"),
        ),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.1"),
    ],
)
def test_a_server_name_is_shown_in_its_canonical_form(text: str, shown: str) -> None:
    name = names.server_name(text)
    assert (
        ipaddress.ip_address(shown) == name.value if isinstance(name, x509.IPAddress) else name == x509.DNSName(shown)
    )
    assert names.server_name(names.show(name)) == name


@pytest.mark.parametrize(
    "text", ["fe80::1%eth0", "[10.0.0.1", "10.0.0.1]", "10.0.0.1/8", "010.0.0.1", "0x7f.1", "2130706433"]
)
def test_t56_odd_spellings_of_addresses_are_refused(text: str) -> None:
    with pytest.raises(BadName):
        names.server_name(text)


def test_networks() -> None:
    assert names.network("10.0.0.0/8") == ipaddress.ip_network("10.0.0.0/8")
    assert names.network("10.0.0.1") == ipaddress.ip_network("10.0.0.1/32")
    for text in ("10.0.0.1/8", "10.0.0.0/33", "", "x", "::/129"):
        with pytest.raises(BadName):
            names.network(text)


def _subject(*attributes: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])


O, CN = NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME  # noqa: E741  # the field's own names


def test_the_node_of_a_subject() -> None:
    assert names.node_of(_subject((O, "system:nodes"), (CN, "system:node:edge-1"))) == "edge-1"
    assert names.node_of(_subject((CN, "system:node:edge-1"), (O, "system:nodes"))) == "edge-1"


@pytest.mark.parametrize(
    "attributes",
    [
        [],
        [(CN, "system:node:edge-1")],
        [(O, "system:nodes")],
        [(O, "system:nodes"), (CN, "edge-1")],
        [(O, "system:nodes"), (CN, "system:node:")],
        [(O, "system:nodes"), (CN, "system:node:Edge-1")],
        [(O, "system:nodes"), (CN, "system:node:../x")],
        [(O, "system:masters"), (CN, "system:node:edge-1")],
        [(O, "system:nodes"), (O, "system:masters"), (CN, "system:node:edge-1")],
        [(O, "system:nodes"), (O, "system:nodes"), (CN, "system:node:edge-1")],
        [(O, "system:nodes"), (CN, "system:node:edge-1"), (CN, "system:node:edge-2")],
        [(O, "KubeEdge"), (CN, "kubeedge.io")],
    ],
)
def test_t20_a_subject_that_does_not_name_exactly_one_node_names_none(
    attributes: list[tuple[x509.ObjectIdentifier, str]],
) -> None:
    assert names.node_of(_subject(*attributes)) is None


def test_every_kind_of_name_can_be_shown() -> None:
    shown = {
        names.show(name)
        for name in (
            x509.DNSName("a.example"),
            x509.IPAddress(ipaddress.ip_address("10.0.0.1")),
            x509.IPAddress(ipaddress.ip_network("10.0.0.0/8")),
            x509.UniformResourceIdentifier("spiffe://x/y"),
            x509.RFC822Name("a@b.example"),
            x509.DirectoryName(_subject((CN, "x"))),
            x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
            x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\x05\x00"),
        )
    }
    assert shown == {
        *(
            "a.example",
            "10.0.0.1",
            "10.0.0.0/8",
            "URI:spiffe://x/y",
            "email:a@b.example",
            "dirName:CN=x",
            "registeredID:1.2.3",
        ),
        "otherName:1.2.3",
    }
