"""What an operator hands over from a KubeEdge cloud, sorted: which certificate is the CA, which key is its own, what the rest is."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509

from edgeward.cli import reading
from edgeward.errors import BadName, EdgewardError, Unreadable, UsageError, printable
from edgeward.model.token import JoinToken
from edgeward.pki import keys, kubeedge, names, parse
from edgeward.pki.formats import pkcs8
from edgeward.pki.formats.item import Item, Kind, leaves
from edgeward.services.authorities import judge_ca


@dataclass(frozen=True, slots=True, kw_only=True)
class Ca:
    """The CA certificate (DER) and its private key (PKCS#8 DER)."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Everything in the sources: each item with the name of its file, and the files that could not be read, with the reason."""

    items: tuple[tuple[str, Item], ...]
    unreadable: tuple[tuple[str, EdgewardError], ...] = ()

    def _certificates(self) -> Iterator[tuple[str, bytes, x509.Certificate]]:
        seen = set()
        for name, item in self.items:
            if item.kind is Kind.CERTIFICATE and item.data not in seen:
                seen.add(item.data)
                yield name, item.data, parse.certificate(item.data)

    def ca(self) -> Ca:
        """The one CA whose key is there too. Raises `Unreadable`, which says what is missing."""
        for _, error in self.unreadable:
            raise error
        private = [item.data for _, item in self.items if item.kind is Kind.PRIVATE_KEY]
        by_spki = {parse.spki(pkcs8.read(key).public_key()): key for key in private}
        authorities = [(der, parsed) for _, der, parsed in self._certificates() if _is_ca(parsed)]
        pairs = [
            Ca(certificate=der, key=by_spki[spki])
            for der, parsed in authorities
            if (spki := parse.spki(parse.public_key(parsed))) in by_spki
        ]
        if len(pairs) == 1:
            return pairs[0]
        if pairs:
            why = f"there are {len(pairs)} CAs with their keys, and one can be imported"
        elif not authorities:
            why = "there is no CA certificate among them (rootCA.crt, or cadata of casecret)"
        elif not private:
            why = "the CA's private key is not among them (rootCA.key, or cakeydata of casecret)"
        else:
            why = "none of the private keys belongs to the CA certificate"
        raise Unreadable(what="KubeEdge CA", why=why)

    def authority(self) -> bytes | None:
        """The CA certificate alone, for a dry run: the one in the files, which needs no key. Raises `UsageError` for several."""
        found = [der for _, der, parsed in self._certificates() if _is_ca(parsed)]
        if len(found) > 1:
            raise UsageError(problem=f"the sources hold {len(found)} CA certificates; give the files of one authority")
        return found[0] if found else None

    def server_names(self, ca: bytes) -> Sequence[str]:
        """The names in server certificates that this CA issued: what edges dial. Those that are no names are left out."""
        authority = parse.certificate(ca)
        found: dict[str, None] = {}
        for _, der, parsed in self._certificates():
            if der == ca or not kubeedge.issued_by(parsed, authority) or not _is_for_servers(parsed):
                continue
            for extension in parsed.extensions:
                if isinstance(extension.value, x509.SubjectAlternativeName):
                    found |= dict.fromkeys(filter(None, map(_dialled, extension.value)))
        return tuple(found)

    def notes(self, pin_of_ca: str, *, accepted: bool) -> Iterator[str]:
        """What there is to say about a token among the sources."""
        for name, item in self.items:
            if item.kind is not Kind.KUBEEDGE_TOKEN:
                continue
            if JoinToken.parse(item.data.decode()).pin != pin_of_ca:
                yield f"the token in {printable(name)} is of another CA"
            elif not accepted:
                yield (
                    f"the token in {printable(name)} is not taken, because it is good for any name;"
                    " --accept-kubeedge-tokens GLOB --until DATE takes it for new names"
                )

    def deviations(self, ca: bytes) -> Sequence[str]:
        """How the CA differs from one that would be made here, where its key is among the sources."""
        spki = parse.spki(parse.public_key(parse.certificate(ca)))
        for _, item in self.items:
            if item.kind is Kind.PRIVATE_KEY:
                key = pkcs8.read(item.data)
                if parse.spki(key.public_key()) == spki:
                    return judge_ca(ca, keys.issuer_key(key), datetime.now(UTC))
        return ()

    def judge(self, ca: bytes, *, legacy: bool) -> list[dict[str, Any]]:
        """Every certificate but the CA and those of servers, and every file that could not be read: what would become of it."""
        authority, now = parse.certificate(ca), datetime.now(UTC)
        first: dict[str, str] = {}
        rows: list[dict[str, Any]] = [
            {
                "file": name, "node": None, "serial": None, "fingerprint": None, "not_after": None, "verdict": "unreadable",
                "problems": [{"id": error.code, "text": printable(error, 300)}],
            }
            for name, error in self.unreadable
        ]  # fmt: skip
        for name, der, parsed in self._certificates():
            if der == ca or (_is_for_servers(parsed) and names.node_of(parsed.subject) is None):
                continue
            judged = kubeedge.judge(der, authority, now)
            problems = [one for one in judged.problems if not (legacy and one[0] == "legacy-identity")]
            if not problems and judged.node is not None:
                other = first.setdefault(judged.node, name)
                if other != name:
                    problems = [
                        ("second", f"{other} has a certificate of this name too: whichever comes first is adopted")
                    ]
            rows.append(
                {
                    "file": name,
                    "node": judged.node,
                    "serial": format(judged.serial, "x"),
                    "fingerprint": judged.fingerprint.hex(),
                    "not_after": judged.not_after,
                    "verdict": "refused" if problems else "adopted",
                    "problems": [{"id": id_, "text": text} for id_, text in problems],
                    "subject": parsed.subject.rfc4514_string(),
                }
            )
        return rows


def read(sources: Sequence[str], password: str | None, *, directories: bool) -> Found:
    """Everything in the files. In a directory, what is no certificate or Secret is passed over, and said.

    Raises what is wrong with a file that was named; `UsageError` for a directory, unless `directories`.
    """
    found: list[tuple[str, Item]] = []
    unreadable: list[tuple[str, EdgewardError]] = []
    for source in sources:
        if Path(source).is_dir():
            if not directories:
                raise UsageError(problem=f"{source} is a directory; directories are for --dry-run")
            for name in reading.files(source):
                try:
                    found += _in(name, password)
                except EdgewardError as error:
                    unreadable.append((name, error))
        else:
            found += _in(source, password)
    broken = [(name, item.problem) for name, item in found if item.problem is not None]
    return Found(
        items=tuple(one for one in found if one[1].problem is None),
        unreadable=(*unreadable, *((name, problem) for name, problem in broken if problem is not None)),
    )


def _in(name: str, password: str | None) -> list[tuple[str, Item]]:
    return [(name, item) for item in leaves(reading.items(name, password))]


def pin(certificate: bytes) -> str:
    """SHA-256 of a DER, in hex."""
    return hashlib.sha256(certificate).hexdigest()


def table(judged: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The verdicts as lines of text."""
    if not judged:
        yield "no certificates of edges among the sources"
        return
    wide = max(len(str(one["node"] or "-")) for one in judged)
    yield f"{'VERDICT':10}  {'NODE':{max(wide, 4)}}  FILE"
    for one in judged:
        yield f"{one['verdict']:10}  {one['node'] or '-':{max(wide, 4)}}  {printable(one['file'])}"
        for problem in one["problems"]:
            yield f"{'':10}  {problem['id']}: {problem['text']}"
    refused = sum(one["verdict"] != "adopted" for one in judged)
    yield f"{len(judged) - refused} would be adopted, {refused} would not"


def _is_ca(parsed: x509.Certificate) -> bool:
    return any(isinstance(e.value, x509.BasicConstraints) and e.value.ca for e in parsed.extensions)


def _is_for_servers(parsed: x509.Certificate) -> bool:
    usage = x509.oid.ExtendedKeyUsageOID.SERVER_AUTH
    return any(isinstance(e.value, x509.ExtendedKeyUsage) and usage in e.value for e in parsed.extensions)


def _dialled(name: x509.GeneralName) -> str | None:
    """A name that clients can dial; cloudcore's own certificate often has an empty DNS name besides."""
    if not isinstance(name, x509.DNSName | x509.IPAddress):
        return None
    try:
        return names.show(names.server_name(str(name.value)))
    except BadName:
        return None
