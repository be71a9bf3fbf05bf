"""Names: RFC 9525 reference matching, and the comparison of distinguished names of RFC 5280 section 7.1."""

import ipaddress

import pytest
from cryptography import x509
from cryptography.x509.name import _ASN1Type
from hypothesis import given
from hypothesis import strategies as st

from edgeward.errors import BadName
from edgeward.pki.verify import NameKind, PeerName, Question
from edgeward.pki.verify.dn import comparable, prepare, within
from edgeward.pki.verify.names import dns_matches
from edgeward.pki.verify.syntax import host_labels, is_uri, mailbox, pattern_labels, uri_host
from tests.pki.verify.support import ca, failed, judge, leaf

ROOT = ca("CN=Root")

LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
HOSTS = st.lists(LABELS, min_size=1, max_size=5).map(".".join).filter(lambda host: host_labels(host) is not None)


@pytest.mark.parametrize(
    ("presented", "reference", "matches"),
    [
        ("example.com", "example.com", True),
        ("EXAMPLE.com", "example.COM", True),
        ("example.com", "example.com.", True),
        ("example.com", "www.example.com", False),
        ("*.example.com", "www.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "a.b.example.com", False),
        ("*.example.com", "*.example.com", False),
        ("w*.example.com", "www.example.com", False),
        ("*w.example.com", "www.example.com", False),
        ("www.*.com", "www.example.com", False),
        ("*", "com", False),
        ("*.*.com", "a.b.com", False),
        ("xn--*-1b3c148a.example.com", "xn--bliss-1b3c148a.example.com", False),
        (".example.com", "www.example.com", False),
        ("example.com\0.evil.test", "example.com", False),
        ("127.0.0.1", "127.0.0.1", False),
        ("", "example.com", False),
    ],
)
def test_dns_names_match_label_by_label(presented: str, reference: str, matches: bool) -> None:
    assert dns_matches(presented, reference) is matches


@given(HOSTS)
def test_a_host_name_matches_itself_and_nothing_above_or_below(host: str) -> None:
    assert dns_matches(host, host)
    assert dns_matches(host.upper(), host)
    assert not dns_matches(host, f"sub.{host}")
    assert not dns_matches(f"sub.{host}", host)
    assert dns_matches(f"*.{host}", f"sub.{host}") or len(host) > 249


@given(st.text(max_size=40), HOSTS)
def test_no_text_matches_unless_it_is_the_name_or_its_wildcard(text: str, host: str) -> None:
    if dns_matches(text, host):
        assert text.lower() in (host, f"*.{host.partition('.')[2]}")


@given(st.text(max_size=60))
def test_syntax_never_raises(text: str) -> None:
    for read in (host_labels, pattern_labels, mailbox, uri_host, is_uri, prepare):
        read(text)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (NameKind.DNS, "a b"),
        (NameKind.DNS, ""),
        (NameKind.DNS, "*.example.com"),
        (NameKind.DNS, "1.2.3.4"),
        (NameKind.IP, "example.com"),
        (NameKind.IP, "1.2.3.0/24"),
        (NameKind.EMAIL, "no-at-sign"),
        (NameKind.EMAIL, "a@b@c"),
    ],
)
def test_a_reference_name_must_be_of_its_kind(kind: NameKind, value: str) -> None:
    with pytest.raises(BadName):
        PeerName(kind, value)


def asked(kind: NameKind, *values: str) -> Question:
    return Question(names=tuple(PeerName(kind, value) for value in values))


def test_the_common_name_is_never_asked() -> None:
    end = leaf(ROOT, subject="CN=edge.example.com", names=())
    verdict = judge(end, [ROOT], [], asked(NameKind.DNS, "edge.example.com"))
    assert failed(verdict) == {"name"}
    assert "does not count" in verdict.failures[0].words
    assert "DNS:edge.example.com" in verdict.failures[0].remedy


def test_without_a_reference_name_the_names_do_not_matter() -> None:
    assert judge(leaf(ROOT, names=()), [ROOT]).valid


def test_addresses_match_by_octets_and_only_addresses() -> None:
    names = [x509.IPAddress(ipaddress.ip_address("192.0.2.1")), x509.IPAddress(ipaddress.ip_address("2001:db8::1"))]
    end = leaf(ROOT, names=names)
    assert judge(end, [ROOT], [], asked(NameKind.IP, "192.0.2.1", "2001:0DB8:0::1")).valid
    assert failed(judge(end, [ROOT], [], asked(NameKind.IP, "192.0.2.2"))) == {"name"}
    text = leaf(ROOT, names=[x509.DNSName("192.0.2.1")])
    assert failed(judge(text, [ROOT], [], asked(NameKind.IP, "192.0.2.1"))) == {"name"}


def test_every_reference_name_must_match() -> None:
    end = leaf(ROOT, names=[x509.DNSName("a.test"), x509.RFC822Name("Ann@Example.com")])
    assert judge(end, [ROOT], [], asked(NameKind.EMAIL, "Ann@example.COM")).valid
    assert failed(judge(end, [ROOT], [], asked(NameKind.EMAIL, "ann@example.com"))) == {"name"}
    assert failed(judge(end, [ROOT], [], asked(NameKind.DNS, "a.test", "b.test"))) == {"name"}


# --------------------------------------------------------------------------------------------------- comparing names


def one(text: str, kind: _ASN1Type = _ASN1Type.UTF8String) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text, _type=kind)])


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        ("Edge CA", "edge ca", True),
        ("  Edge   CA ", "Edge CA", True),
        ("Edge\u00a0CA", "Edge CA", True),
        ("STRASSE", "straße", True),
        ("ﬁle", "file", True),
        ("soft\u00adhyphen", "softhyphen", True),
        ("Edge CA", "EdgeCA", False),
        ("Edge CA", "Edge CB", False),
        ("a\ue000", "a\ue000", True),
        ("A\ue000", "a\ue000", False),
    ],
)
def test_attribute_values_compare_after_preparation(left: str, right: str, equal: bool) -> None:
    assert (comparable(one(left)) == comparable(one(right))) is equal


def test_the_kind_of_string_does_not_count() -> None:
    assert comparable(one("Edge CA", _ASN1Type.PrintableString)) == comparable(one("edge ca"))


def test_order_counts_between_relative_names_and_not_within_one() -> None:
    ab, ba = x509.Name.from_rfc4514_string("CN=a,O=b"), x509.Name.from_rfc4514_string("O=b,CN=a")
    assert comparable(ab) != comparable(ba)
    ab, ba = x509.Name.from_rfc4514_string("CN=a+O=b"), x509.Name.from_rfc4514_string("O=b+CN=a")
    assert comparable(ab) == comparable(ba)


@given(st.text(min_size=1, max_size=30))
def test_preparation_is_idempotent(text: str) -> None:
    prepared = prepare(text)
    if isinstance(prepared, str):
        assert prepare(prepared) in (prepared, prepared.strip())


@given(st.lists(st.sampled_from(["CN=a", "O=b", "OU=c"]), max_size=4), st.integers(0, 4))
def test_a_name_lies_within_each_of_its_prefixes(parts: list[str], cut: int) -> None:
    whole = comparable(x509.Name.from_rfc4514_string(",".join(parts))) if parts else ()
    assert within(whole, whole[:cut])
    assert not within(whole, (*whole, ((("2.5.4.3", "z"),))))


def test_chaining_uses_the_comparison() -> None:
    root = ca("CN=Edge  CA,O=Acme")
    end = leaf(root, issuer_name="CN=edge ca,O=ACME")
    assert judge(end, [root]).valid
    assert failed(judge(leaf(root, issuer_name="O=Acme,CN=Edge CA"), [root])) == {"path"}
