"""Judging our own files before anything is dialled: a certificate and a key that can be used together, or what is wrong with them."""

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from edgeward.errors import EdgewardError
from edgeward.model.finding import Finding
from edgeward.pki.formats import pkcs8
from edgeward.pki.formats.item import Item, Kind, leaves
from edgeward.pki.inspect import chain as families
from edgeward.services.doctor.case import Mine, read
from edgeward.services.doctor.catalogue import finding
from edgeward.services.doctor.entries import ENTRIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """What our files came to: the certificate to judge (None without a readable one), the key to show it with (None when it cannot be),
    and what is wrong."""

    mine: Mine | None = None
    key: PrivateKeyTypes | None = None
    findings: tuple[Finding, ...] = ()


def judge(cert: str, certificates: Sequence[Item], key: str, keys: Sequence[Item], address: str) -> Ours:
    """Our certificate and key out of what the files `cert` and `key` hold (the same file twice when it has both)."""
    facts = {"cert": cert, "key": key, "address": address}
    found = [item for item in leaves(certificates) if item.kind is Kind.CERTIFICATE and item.problem is None]
    private = [item for item in leaves(keys) if item.kind in (Kind.PRIVATE_KEY, Kind.ENCRYPTED_KEY)]
    if not found or not private:
        return Ours(findings=(_swapped_or_wrong(facts, certificates, keys, bool(found)),))
    locked = next((item for item in private if item.kind is Kind.ENCRYPTED_KEY or item.problem is not None), None)
    ders = tuple(item.data for item in found)
    mine = Mine(certificates=ders, cert=cert, key=key)
    if read(ders[0]) is None:
        return Ours(
            findings=(
                finding(ENTRIES["client-file"], facts | {"file": cert, "detail": "its certificate cannot be read"}),
            )
        )
    if locked is not None:
        return Ours(mine=mine, findings=(finding(ENTRIES["key-locked"], facts | {"node": mine.node or "NAME"}),))
    try:
        loaded = pkcs8.read(private[0].data)
        same = families.key_digest(loaded.public_key()) == families.spki_digest(mine.leaf)
    except EdgewardError as error:
        return Ours(mine=mine, findings=(finding(ENTRIES["client-file"], facts | {"file": key, "detail": str(error)}),))
    if not same:
        node = {"node": mine.node} if mine.node else {}
        return Ours(mine=mine, findings=(finding(ENTRIES["key-mismatch"], facts | node),))
    return Ours(mine=mine, key=loaded)


def _swapped_or_wrong(
    facts: dict[str, str], certificates: Sequence[Item], keys: Sequence[Item], has_certificate: bool
) -> Finding:
    in_cert = {item.kind for item in leaves(certificates)}
    in_key = {item.kind for item in leaves(keys)}
    if in_cert & {Kind.PRIVATE_KEY, Kind.ENCRYPTED_KEY} and Kind.CERTIFICATE in in_key:
        return finding(ENTRIES["files-swapped"], facts)
    name, items, wanted = (
        (facts["key"], keys, "private key") if has_certificate else (facts["cert"], certificates, "certificate")
    )
    held = ", ".join(dict.fromkeys(item.kind.words for item in leaves(items))) or "nothing"
    return finding(ENTRIES["client-file"], facts | {"file": name, "detail": f"it holds no {wanted}, but {held}"})
