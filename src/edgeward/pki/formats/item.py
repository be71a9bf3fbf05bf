"""What a file turned out to hold: one `Item` for each thing found in it, and the questions that readers ask of a
list of them.
"""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple

from edgeward.errors import EdgewardError, InputError


class Kind(StrEnum):
    """What a thing is. The value is its name in `--json`; `words` is its name in sentences."""

    CERTIFICATE = "certificate"
    REQUEST = "certificate-request"
    CRL = "crl"
    PRIVATE_KEY = "private-key"
    ENCRYPTED_KEY = "encrypted-private-key"
    PUBLIC_KEY = "public-key"
    EC_PARAMETERS = "ec-parameters"
    OCSP_REQUEST = "ocsp-request"
    OCSP_RESPONSE = "ocsp-response"
    PKCS7 = "pkcs7"
    PKCS12 = "pkcs12"
    JKS = "jks"
    JCEKS = "jceks"
    KUBERNETES_SECRET = "kubernetes-secret"  # noqa: S105 - a kind's name, not a secret
    KUBECONFIG = "kubeconfig"
    KUBEEDGE_TOKEN = "kubeedge-token"  # noqa: S105 - a kind's name, not a secret
    ASN1 = "asn1"
    BROKEN = "broken"

    @property
    def words(self) -> str:
        """The kind as it stands in a sentence, without an article."""
        return _WORDS.get(self, self.value.replace("-", " "))


_WORDS = {
    Kind.CRL: "certificate revocation list",
    Kind.EC_PARAMETERS: "elliptic curve's name (EC PARAMETERS)",
    Kind.OCSP_REQUEST: "OCSP request",
    Kind.OCSP_RESPONSE: "OCSP response",
    Kind.PKCS7: "PKCS#7 bundle",
    Kind.PKCS12: "PKCS#12 store",
    Kind.JKS: "Java key store (JKS)",
    Kind.JCEKS: "Java key store (JCEKS)",
    Kind.KUBERNETES_SECRET: "Kubernetes Secret",
    Kind.KUBECONFIG: "kubeconfig",
    Kind.KUBEEDGE_TOKEN: "KubeEdge join token",
    Kind.ASN1: "ASN.1 value of a kind not known here",
    Kind.BROKEN: "thing that cannot be read",
}


class Item(NamedTuple):
    """One thing found in some input.

    `data` is DER for everything that is ASN.1 (a container that came in BER keeps its BER), the original octets
    otherwise. A container's contents are its `parts`. `problem` is why it cannot be read or opened; then `data` is
    what stands in the input.
    """

    kind: Kind
    data: bytes
    label: str = ""
    """The PEM label, or the name of the field that holds it."""
    alias: str = ""
    """Its friendly name in a key store."""
    origin: str = ""
    """Where it came from, in words: `PEM block 2, line 31`."""
    encoding: str = ""
    """`PEM`, `DER`, `BER`, or what else it came in."""
    protection: str = ""
    """How it was encrypted, in words; empty when it was not."""
    notes: tuple[str, ...] = ()
    parts: tuple["Item", ...] = ()
    problem: EdgewardError | None = None

    def __repr__(self) -> str:  # without the data, which may be a private key
        return f"<Item: {self.kind.words}, {len(self.data)} octets>"

    def noted(self, *notes: str) -> "Item":
        """The same item with further notes; empty ones are left out."""
        return self._replace(notes=(*self.notes, *(note for note in notes if note)))

    def within(self, place: str) -> "Item":
        """The same item, its origin told from further outside: `PEM block 1 in key ca.crt`."""
        return self._replace(
            origin=f"{self.origin}, {place}" if self.origin else place,
            parts=tuple(part.within(place) for part in self.parts),
        )


def leaves(items: Iterable[Item]) -> Iterator[Item]:
    """The items that hold no others, in order: what is in the containers in place of the containers.

    A container that could not be opened stays, so that its problem is not lost.
    """
    for item in items:
        if item.parts:
            yield from leaves(item.parts)
        if not item.parts or item.problem is not None:
            yield item


def opened(items: Iterable[Item]) -> list[Item]:
    """`leaves`, all of which could be read. Raises the first problem there is."""
    found = list(leaves(items))
    for item in found:
        if item.problem is not None:
            raise item.problem
    return found


def of_kind(items: Iterable[Item], kind: Kind, name: str) -> list[Item]:
    """The leaves of one kind, at least one. Raises `WrongKind` saying what `name` holds instead, or a problem met
    before.
    """
    found = opened(items)
    wanted = [item for item in found if item.kind is kind]
    if not wanted:
        raise WrongKind(name=name, wanted=kind.words, found=summary(found))
    return wanted


def only(items: Iterable[Item], kind: Kind, name: str) -> Item:
    """The one leaf of one kind. Raises `WrongKind` when there is none or several."""
    wanted = of_kind(items, kind, name)
    if len(wanted) > 1:
        raise WrongKind(name=name, wanted=f"single {kind.words}", found=f"{len(wanted)} of them")
    return wanted[0]


def summary(items: Iterable[Item]) -> str:
    """Items counted by kind, in words: `2 certificates, 1 private key`."""
    counts: dict[Kind, int] = {}
    for item in items:
        counts[item.kind] = counts.get(item.kind, 0) + 1
    if not counts:
        return "nothing"
    return ", ".join(f"{count} {kind.words}{'s' if count > 1 else ''}" for kind, count in counts.items())


class WrongKind(InputError):
    """A file that holds something else than what is needed from it."""

    sentence = "{name} holds no {wanted}, but {found}"
    remedy = "see what is in it: edgeward inspect {name}"
