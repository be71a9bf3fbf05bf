"""Name constraints of every kind: RFC 5280 section 4.2.1.10."""

import ipaddress
import itertools

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeward.pki.verify import NameKind, PeerName, Purpose, Question
from edgeward.pki.verify.constraints import Subtrees, _constraint, _presented, _violation
from tests.pki.verify.support import Made, ca, failed, judge, leaf, name

D, E, U, R = x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier, x509.RegisteredID


def I(text: str) -> x509.IPAddress:  # noqa: E743 - beside D, E and U
    return x509.IPAddress(ipaddress.ip_network(text) if "/" in text else ipaddress.ip_address(text))


def N(text: str) -> x509.DirectoryName:
    return x509.DirectoryName(name(text))


OTHER = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.99999.3"), b"\x05\x00")
OID = R(x509.ObjectIdentifier("1.2.3"))


def violation(
    presented: x509.GeneralName, permitted: list[x509.GeneralName], excluded: list[x509.GeneralName] | None = None
) -> str:
    trees = Subtrees("CN=CA", tuple(map(_constraint, permitted)), tuple(map(_constraint, excluded or ())))
    return _violation(_presented(presented), trees)


@pytest.mark.parametrize(
    ("base", "value", "inside"),
    [
        (D("example.com"), D("example.com"), True),
        (D("example.com"), D("a.b.EXAMPLE.com"), True),
        (D("example.com"), D("notexample.com"), False),
        (D("example.com"), D("com"), False),
        (D(""), D("anything.test"), True),
        (D("example.com"), D("*.example.com"), True),
        (D("foo.example.com"), D("*.example.com"), False),
        (E("ann@example.com"), E("ann@EXAMPLE.com"), True),
        (E("ann@example.com"), E("Ann@example.com"), False),
        (E("example.com"), E("bob@example.com"), True),
        (E("example.com"), E("bob@mail.example.com"), False),
        (E(".example.com"), E("bob@mail.example.com"), True),
        (E(".example.com"), E("bob@example.com"), False),
        (U("example.com"), U("https://example.com/x"), True),
        (U("example.com"), U("https://user@example.com:8443/x?y#z"), True),
        (U("example.com"), U("https://www.example.com/"), False),
        (U(".example.com"), U("spiffe://www.example.com/x"), True),
        (U(".example.com"), U("https://example.com/"), False),
        (I("192.0.2.0/24"), I("192.0.2.77"), True),
        (I("192.0.2.0/24"), I("192.0.3.1"), False),
        (I("0.0.0.0/0"), I("2001:db8::1"), False),
        (I("2001:db8::/32"), I("2001:db8:1::1"), True),
        (N("O=Acme"), N("CN=x,O=ACME"), True),
        (N("O=Acme"), N("CN=x,O=Other"), False),
        (N("O=Acme"), N("O=Acme,C=DE"), False),
        (N(""), N("CN=x"), True),
    ],
    ids=str,
)
def test_a_name_is_inside_or_outside_a_subtree(base: x509.GeneralName, value: x509.GeneralName, inside: bool) -> None:
    assert (violation(value, [base]) == "") is inside
    assert (violation(value, [], [base]) == "") is not inside or isinstance(value, D)


def test_a_wildcard_touches_what_it_could_match() -> None:
    assert violation(D("*.example.com"), [], [D("bar.example.com")])
    assert violation(D("*.example.com"), [], [D("example.com")])
    assert not violation(D("*.example.com"), [], [D("a.bar.example.com")])
    assert not violation(D("*.example.com"), [], [D("example.org")])


@pytest.mark.parametrize(
    ("constraint", "value"),
    [
        (D(".example.com"), D("a.example.com")),
        (D("exa mple.com"), D("a.example.com")),
        (E._init_without_validation("a@b@example.com"), E("a@example.com")),
        (U("https://example.com"), U("https://example.com/")),
        (D("example.com"), D(".example.com")),
        (D("example.com"), D("a_b.exa*mple.com")),
        (E("example.com"), E._init_without_validation("a@b@example.com")),
        (U("example.com"), U("urn:example:com")),
        (U("example.com"), U("https://192.0.2.1/")),
        (U("example.com"), U("https://[2001:db8::1]/")),
        (OTHER, OTHER),
        (OID, OID),
    ],
    ids=str,
)
def test_what_cannot_be_compared_is_refused(constraint: x509.GeneralName, value: x509.GeneralName) -> None:
    assert violation(value, [constraint])
    assert violation(value, [], [constraint])


def test_a_constraint_of_another_kind_says_nothing() -> None:
    kinds = {D: D("x.test"), E: E("a@x.test"), U: U("https://x.test/"), x509.IPAddress: I("192.0.2.1"), R: OID}
    bases = {D: D("y.test"), E: E("y.test"), U: U("y.test"), x509.IPAddress: I("10.0.0.0/8"), R: OID}
    for (kind, value), (other, base) in itertools.product(kinds.items(), bases.items()):
        if kind is not other:
            assert not violation(value, [base], [base])


HOSTS = st.lists(st.sampled_from(["a", "b", "c", "test"]), min_size=1, max_size=4).map(".".join)


@given(HOSTS, st.lists(HOSTS, max_size=4), st.lists(HOSTS, max_size=4))
def test_dns_constraints_agree_with_their_definition(host: str, permitted: list[str], excluded: list[str]) -> None:
    def inside(base: str) -> bool:
        return host == base or host.endswith(f".{base}")

    fine = (not permitted or any(map(inside, permitted))) and not any(map(inside, excluded))
    assert (violation(D(host), list(map(D, permitted)), list(map(D, excluded))) == "") is fine


@given(HOSTS, st.lists(HOSTS, max_size=3), st.lists(HOSTS, max_size=3), st.sampled_from(["a", "b", "c", "test", "zz"]))
def test_a_wildcard_that_passes_lets_every_name_pass_that_it_matches(
    host: str, permitted: list[str], excluded: list[str], label: str
) -> None:
    trees = list(map(D, permitted)), list(map(D, excluded))
    if not violation(D(f"*.{host}"), *trees):
        assert not violation(D(f"{label}.{host}"), *trees)


# ------------------------------------------------------------------------------------------------------------- in paths


def constraints(
    permitted: list[x509.GeneralName] | None = None, excluded: list[x509.GeneralName] | None = None
) -> tuple[x509.NameConstraints, bool]:
    return x509.NameConstraints(permitted, excluded), True


def outcome(end: Made, root: Made, *chain: Made) -> set[str]:
    return failed(judge(end, [root], chain))


def test_an_anchors_constraints_count() -> None:
    root = ca("CN=Root", None, constraints([D("example.com")]))
    assert outcome(leaf(root), root) == set()
    assert outcome(leaf(root, names=[D("example.org")]), root) == {"name-constraints"}


def test_constraints_intersect_down_the_path() -> None:
    root = ca("CN=Root")
    wide = ca("CN=Wide", root, constraints([D("foo.test"), D("bar.test")]))
    narrow = ca("CN=Narrow", wide, constraints([D("bar.test")]))
    assert outcome(leaf(narrow, names=[D("bar.test")]), root, wide, narrow) == set()
    assert outcome(leaf(narrow, names=[D("foo.test")]), root, wide, narrow) == {"name-constraints"}
    widening = ca("CN=Widening", narrow, constraints([D("foo.test"), D("bar.test")]))
    assert outcome(leaf(widening, names=[D("foo.test")]), root, wide, narrow, widening) == {"name-constraints"}


def test_intermediates_are_constrained_and_self_issued_ones_are_not() -> None:
    root = ca("CN=Root", None, constraints([D("example.com")]))
    san = (x509.SubjectAlternativeName([D("elsewhere.test")]), False)
    below = ca("CN=Below", root, san)
    assert outcome(leaf(below), root, below) == {"name-constraints"}
    own = ca("CN=Root", root, san)
    assert outcome(leaf(own), root, own) == set()
    final = leaf(root, subject="CN=Root", names=[D("elsewhere.test")])
    assert outcome(final, root) == {"name-constraints"}


def test_directory_constraints_apply_to_the_subject_and_to_alternative_names() -> None:
    root = ca("CN=Root", None, constraints([N("O=Acme")]))
    assert outcome(leaf(root, subject="CN=x,O=acme", names=[N("CN=y,O=Acme")]), root) == set()
    assert outcome(leaf(root, subject="CN=x", names=[N("CN=y,O=Acme")]), root) == {"name-constraints"}
    assert outcome(leaf(root, subject="CN=x,O=Acme", names=[N("CN=y")]), root) == {"name-constraints"}
    assert outcome(leaf(root, subject="", names=[D("a.test")]), root) == set()


def test_e_mail_constraints_apply_to_the_subject_too() -> None:
    root = ca("CN=Root", None, constraints(None, [E("example.com")]))
    assert outcome(leaf(root, subject="1.2.840.113549.1.9.1=#160f616e6e406578616d706c652e636f6d"), root) == {
        "name-constraints"
    }


def test_an_unknown_constraint_matters_only_when_such_a_name_appears() -> None:
    root = ca("CN=Root", None, constraints([D("example.com")], [OTHER]))
    assert outcome(leaf(root), root) == set()
    assert outcome(leaf(root, names=[D("example.com"), OTHER]), root) == {"name-constraints"}


def test_an_internationalised_mailbox_does_not_slip_past_e_mail_constraints() -> None:
    root = ca("CN=Root", None, constraints([E("example.com")]))
    mailbox = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.9"), b"\x0c\x05a@b.c")
    assert outcome(leaf(root, names=[mailbox]), root) == {"name-constraints"}


def test_a_minimum_is_refused_where_its_kind_is_used() -> None:
    def tlv(tag: int, content: bytes) -> bytes:
        return bytes([tag, len(content)]) + content

    subtree = tlv(0x30, tlv(0x82, b"example.com") + tlv(0x80, b"\x01"))
    value = x509.UnrecognizedExtension(x509.NameConstraints.oid, tlv(0x30, tlv(0xA0, subtree)))
    root = ca("CN=Root", None, (value, True))
    assert outcome(leaf(root), root) == {"name-constraints"}
    assert outcome(leaf(root, names=[E("a@b.test")]), root) == set()


TERNARY = (None, True, False)


@settings(deadline=None, max_examples=150)
@given(*[st.sampled_from(TERNARY)] * 6, st.booleans())
def test_hosts_and_addresses_together_follow_the_table(
    dns: bool | None,
    ip: bool | None,
    dns_permitted: bool | None,
    ip_permitted: bool | None,
    dns_excluded: bool | None,
    ip_excluded: bool | None,
    by_name: bool,
) -> None:
    """Each of six things is absent, good or bad; the verdict follows from the definition alone."""
    good = {"dns": D("test.localhost"), "ip": I("127.0.0.1")}
    bad = {"dns": D("bad.example.com"), "ip": I("1.1.1.1")}
    tree = {("dns", True): D("localhost"), ("dns", False): D("example.com"), ("ip", True): I("127.0.0.0/24")}
    tree["ip", False] = I("1.1.1.0/24")
    picked = [("dns", dns), ("ip", ip)]
    names = [(good if state else bad)[kind] for kind, state in picked if state is not None]
    permitted = [tree[k, s] for k, s in (("dns", dns_permitted), ("ip", ip_permitted)) if s is not None]
    excluded = [tree[k, s] for k, s in (("dns", dns_excluded), ("ip", ip_excluded)) if s is not None]
    extra = [constraints(permitted or None, excluded or None)] if permitted or excluded else []
    issuing = ca("CN=Issuing", ROOT, *extra, key=KEY)
    end = leaf(issuing, subject="CN=bad.example.com,O=x", names=names, key=KEY)
    wanted = PeerName(NameKind.DNS, "test.localhost") if by_name else PeerName(NameKind.IP, "127.0.0.1")
    verdict = judge(end, [ROOT], [issuing], Question(purpose=Purpose.SERVER, names=(wanted,)))
    limits = {"dns": (dns_permitted, dns_excluded), "ip": (ip_permitted, ip_excluded)}
    broken = any(
        state is not None and (limits[kind][0] is (not state) or limits[kind][1] is state) for kind, state in picked
    )
    named = dns is True if by_name else ip is True
    assert verdict.valid is (named and not broken)


ROOT = ca("CN=Root")
KEY = ec.generate_private_key(ec.SECP256R1())
