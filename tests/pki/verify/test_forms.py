"""The profiles: every rule of form fails alone in the profiles that ask for it, and nowhere else."""

import ipaddress
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from edgeward.pki.verify import Profile, Purpose, Question, Verdict
from edgeward.pki.verify.suffixes import is_public_suffix
from tests.pki.verify.support import Made, ca, failed, judge, leaf, make, usage

DEVICE, RFC5280, WEBPKI = Profile.DEVICE, Profile.RFC5280, Profile.WEBPKI
ROOT = ca("CN=Root")
SERVER = x509.ExtendedKeyUsage([x509.OID_SERVER_AUTH]), False
HOST = [x509.DNSName("edge.example.com")]
Scene = tuple[Made, Made, list[Made]]


def direct(end: Made, root: Made = ROOT) -> Scene:
    return end, root, []


def under(issuing: Made, root: Made = ROOT) -> Scene:
    return leaf(issuing), root, [issuing]


def rooted(root: Made) -> Scene:
    return leaf(root), root, []


def in_profile(scene: Scene, profile: Profile, strict: bool = False) -> Verdict:
    end, root, chain = scene
    question = Question(profile=profile, purpose=Purpose.SERVER, strict_wildcards=strict)
    return judge(end, [root], chain, question)


AIA = x509.AuthorityInformationAccess([x509.AccessDescription(x509.OID_CA_ISSUERS, x509.DNSName("a.test"))])
LIMITED = x509.NameConstraints([x509.DNSName("example.com")], None)

FORMS: dict[str, tuple[str, Callable[[], Scene]]] = {
    "serial zero": ("form-serial", lambda: direct(make_with_serial(0))),
    "serial of 22 octets": ("form-serial", lambda: direct(make_with_serial(1 << 170))),
    "authority without subject": ("form-names", lambda: under(ca("", ROOT, san(critical=True)))),
    "leaf without key identifier": (
        "form-authority-key-id",
        lambda: direct(leaf(ROOT, without=[x509.AuthorityKeyIdentifier])),
    ),
    "authority without key identifier": (
        "form-authority-key-id",
        lambda: under(ca("CN=I", ROOT, without=[x509.AuthorityKeyIdentifier])),
    ),
    "cross-signed anchor without key identifier": (
        "form-authority-key-id",
        lambda: rooted(ca("CN=I", ROOT, without=[x509.AuthorityKeyIdentifier])),
    ),
    "authority without subject key identifier": (
        "form-subject-key-id",
        lambda: under(ca("CN=I", ROOT, without=[x509.SubjectKeyIdentifier])),
    ),
    "leaf that may sign certificates": (
        "form-key-usage",
        lambda: direct(leaf(ROOT, (usage(digital_signature=True, key_cert_sign=True), True))),
    ),
    "basicConstraints not critical": (
        "form-basic-constraints",
        lambda: rooted(ca("CN=R", None, (x509.BasicConstraints(True, None), False))),
    ),
    "name constraints in a leaf": ("form-name-constraints", lambda: direct(leaf(ROOT, (LIMITED, True)))),
    "critical AIA": ("form-critical", lambda: direct(leaf(ROOT, (AIA, True)))),
    "critical key identifier": (
        "form-critical",
        lambda: direct(leaf(ROOT, (x509.AuthorityKeyIdentifier.from_issuer_public_key(ROOT.key.public_key()), True))),
    ),
    "policyConstraints not critical": (
        "form-critical",
        lambda: under(ca("CN=I", ROOT, (x509.PolicyConstraints(3, None), False))),
    ),
    "empty subject and names not critical": (
        "form-alternative-names",
        lambda: direct(leaf(ROOT, (x509.SubjectAlternativeName(HOST), False), subject="")),
    ),
    "underscore": ("form-alternative-names", lambda: direct(named(x509.DNSName("a_b.example.com")))),
    "leading period": ("form-alternative-names", lambda: direct(named(x509.DNSName(".example.com")))),
    "address as text": ("form-alternative-names", lambda: direct(named(x509.DNSName("192.0.2.1")))),
    "no mailbox": (
        "form-alternative-names",
        lambda: direct(named(x509.RFC822Name._init_without_validation("a@b@example.com"))),
    ),
}


def san(*names: x509.GeneralName, critical: bool) -> tuple[x509.SubjectAlternativeName, bool]:
    return x509.SubjectAlternativeName(names or HOST), critical


def make_with_serial(serial: int) -> Made:
    if serial:
        return leaf(ROOT, SERVER, serial=serial)
    made = leaf(ROOT, SERVER)
    builder = x509.CertificateBuilder(
        made.certificate.issuer, made.name, made.key.public_key(), 0, *validity(made), list(made.certificate.extensions)
    )
    return Made(builder.sign(ROOT.key, made.certificate.signature_hash_algorithm), made.key)


def validity(made: Made) -> tuple[object, object]:
    return made.certificate.not_valid_before_utc, made.certificate.not_valid_after_utc


def named(name: x509.GeneralName) -> Made:
    return leaf(ROOT, SERVER, names=[*HOST, name])


@pytest.mark.filterwarnings("ignore:Parsed a serial number which wasn't positive")
@pytest.mark.parametrize("case", FORMS)
def test_a_rule_of_form(case: str) -> None:
    check_id, scene = FORMS[case]
    made = scene()
    unknown = {"critical-extensions"} & failed(in_profile(made, DEVICE))  # an AIA that is critical is not understood
    assert failed(in_profile(made, DEVICE)) == unknown
    assert failed(in_profile(made, RFC5280)) == {check_id} | unknown
    assert check_id in failed(in_profile(made, WEBPKI))


def test_constraints_that_are_not_critical_are_a_matter_of_profile() -> None:
    root = ca("CN=Root", None, (LIMITED, False))
    scene = direct(leaf(root, SERVER), root)
    assert in_profile(scene, DEVICE).valid
    assert failed(in_profile(scene, RFC5280)) == {"form-name-constraints"}
    assert in_profile(scene, WEBPKI).valid


def test_a_self_signed_anchor_needs_no_authority_key_identifier() -> None:
    assert in_profile(direct(leaf(ROOT, SERVER)), RFC5280).valid


# ------------------------------------------------------------------------------------------------------------- webpki


def web(*extra: tuple[x509.ExtensionType, bool], **fields: object) -> Made:
    return leaf(ROOT, SERVER, *extra, **fields)  # type: ignore[arg-type]


def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


WEB: dict[str, tuple[str, Callable[[], Scene]]] = {
    "no names": ("webpki", lambda: direct(web(names=()))),
    "critical names": ("webpki", lambda: direct(web(san(critical=True)))),
    "no extKeyUsage": ("webpki", lambda: direct(leaf(ROOT, without=[x509.ExtendedKeyUsage]))),
    "critical extKeyUsage": ("webpki", lambda: direct(leaf(ROOT, (SERVER[0], True)))),
    "any extKeyUsage": (
        "webpki",
        lambda: direct(
            leaf(
                ROOT,
                (x509.ExtendedKeyUsage([x509.OID_SERVER_AUTH, x509.ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), False),
            )
        ),
    ),
    "a root with extKeyUsage": ("webpki", lambda: rooted(ca("CN=R", None, SERVER))),
    "a CA as leaf": (
        "webpki",
        lambda: direct(ca("CN=edge.example.com", ROOT, SERVER, san(critical=False))),
    ),
    "common name elsewhere": ("webpki", lambda: direct(web(subject="CN=other.example.com"))),
    "common name in capitals": ("webpki", lambda: direct(web(subject="CN=Edge.example.com"))),
    "common name in hexadecimal": (
        "webpki",
        lambda: direct(web(subject="CN=0xC0A80101", names=[x509.IPAddress(ipaddress.ip_address("192.168.1.1"))])),
    ),
    "common name with a long address": (
        "webpki",
        lambda: direct(
            web(subject="CN=2001:db8:0:0:1:0:0:1", names=[x509.IPAddress(ipaddress.ip_address("2001:db8::1:0:0:1"))])
        ),
    ),
    "wildcard for a top-level domain": (
        "webpki",
        lambda: direct(web(subject="CN=*.com", names=[x509.DNSName("*.com")])),
    ),
    "wildcard for a registry": (
        "webpki",
        lambda: direct(web(subject="CN=*.co.uk", names=[x509.DNSName("*.co.uk")])),
    ),
    "an Edwards key": ("key", lambda: direct(web(key=ed25519.Ed25519PrivateKey.generate()))),
    "an RSA key of 2052 bits": ("key", lambda: direct(web(key=rsa_key(2052)))),
}


@pytest.mark.parametrize("case", WEB)
def test_a_rule_of_the_web_pki(case: str) -> None:
    check_id, scene = WEB[case]
    made = scene()
    assert failed(in_profile(made, RFC5280)) == set()
    assert failed(in_profile(made, WEBPKI)) == {check_id}


@pytest.mark.parametrize(
    "names",
    [
        [x509.DNSName("edge.example.com"), x509.DNSName("www.example.com")],
        [x509.DNSName("*.edge.example.com")],
        [x509.IPAddress(ipaddress.ip_address("192.0.2.1"))],
    ],
)
def test_a_plain_web_certificate_is_valid(names: list[x509.GeneralName]) -> None:
    assert failed(in_profile(direct(web(names=names)), WEBPKI)) == set()


def test_a_roots_key_identifiers_must_agree() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    other = ec.generate_private_key(ec.SECP256R1())
    own = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    alien = x509.AuthorityKeyIdentifier.from_issuer_public_key(other.public_key())
    full = x509.AuthorityKeyIdentifier(own.key_identifier, [x509.DirectoryName(ROOT.name)], 7)
    empty = x509.AuthorityKeyIdentifier(None, None, None)
    for identifier, fine in ((own, True), (alien, False), (full, False), (empty, False)):
        root = ca("CN=R", None, (identifier, False), key=key)
        assert failed(in_profile(direct(leaf(root, SERVER), root), WEBPKI)) == (set() if fine else {"webpki"})


def test_hosters_count_only_when_asked_for() -> None:
    scene = direct(web(subject="CN=*.s3.amazonaws.com", names=[x509.DNSName("*.s3.amazonaws.com")]))
    assert in_profile(scene, WEBPKI).valid
    assert failed(in_profile(scene, WEBPKI, strict=True)) == {"webpki"}


@pytest.mark.parametrize(
    ("name", "public"),
    [
        ("com", True),
        ("co.uk", True),
        ("example.com", False),
        ("example.co.uk", False),
        ("id.me", False),
        ("github.io", False),
    ],
)
def test_registries_are_recognised_by_their_shape(name: str, public: bool) -> None:
    assert is_public_suffix(tuple(name.split(".")), hosters=False) is public


def test_the_openssl_chain_of_the_article_passes_as_a_device(openssl_chain: tuple[Made, Made]) -> None:
    root, end = openssl_chain
    assert in_profile(direct(end, root), DEVICE).valid
    assert failed(in_profile(direct(end, root), RFC5280)) == {"form-authority-key-id"}


@pytest.fixture
def openssl_chain() -> tuple[Made, Made]:
    """What `openssl req -x509` and `openssl x509 -req` make: a CA without keyUsage, a leaf without any extension."""
    key = rsa_key(2048)
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    root = make("CN=KubeEdge", extensions=[(own, False), (x509.BasicConstraints(True, None), True)], key=key)
    return root, make("CN=cloudcore", root, key=rsa_key(2048))
