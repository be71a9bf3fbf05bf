"""Judging our side: whether the server wants a client certificate, and whether ours will do."""

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from edgeward.errors import EdgewardError
from edgeward.model.handshake import Handshake, Outcome
from edgeward.pki import parse
from edgeward.pki.inspect.certificate import issued_by
from edgeward.pki.inspect.names import dn
from edgeward.services.doctor import chain
from edgeward.services.doctor.alerts import meaning
from edgeward.services.doctor.case import Case, read
from edgeward.services.doctor.chain import date_facts, key_facts, weak_digest, weak_key

HUB_PORTS = (10000, 30000)


def accepted(authorities: tuple[bytes, ...]) -> str:
    """The issuers that a server lists, for people."""
    if not authorities:
        return "any issuer (it lists none)"
    shown = [name_from_der(der) for der in authorities[:5]]
    return ", ".join(shown) + (f" and {len(authorities) - 5} more" if len(authorities) > 5 else "")


def name_from_der(der: bytes) -> str:
    """A DER name for people."""
    try:
        return dn(parse.name(der))
    except EdgewardError:
        return "(unreadable)"


def turned_away(one: Handshake | None) -> bool:
    """Whether the server asked for a certificate and then ended the connection, by an alert, by closing, or in nginx's words."""
    if one is None or not one.asked:
        return False
    if one.outcome is Outcome.ALERT:
        return True
    if one.answer is not None and one.answer.status == 400:
        return b"SSL certificate" in one.answer.body
    return one.outcome is Outcome.CLOSED and one.answer is None


def judge(case: Case) -> None:
    """Add what is wrong with our certificate, or that there is none."""
    shown = case.shown
    if shown is None:
        return
    facts = {"authorities": accepted(shown.authorities)}
    if case.mine is None:
        if turned_away(shown):
            why: tuple[str, ...] = ()
            if case.contact.port in HUB_PORTS:
                why = (
                    "This is where hubs listen: WebSocket over mutual TLS, with the certificate that a join brought.",
                )
            case.add("client-certificate-missing", facts | _alert_facts(shown), why=why)
        return
    _ours(case, shown, facts)
    bare = case.contact.bare
    if (
        shown.asked
        and bare is not None
        and bare.answer is not None
        and bare.answer.status != 200
        and not turned_away(bare)
    ):
        case.add("client-certificate-optional")


def _alert_facts(one: Handshake) -> dict[str, str]:
    if one.alert is None:
        return {
            "alert": "none: it closed the connection",
            "meaning": "It gave no reason.",
            "go_alert": "",
            "java_alert": "",
        }
    means = meaning(one.alert.code)
    return {"alert": means.name, "meaning": means.words, "go_alert": means.go, "java_alert": means.name}


def _ours(case: Case, shown: Handshake, facts: dict[str, str]) -> None:
    """Our certificate: what is plainly wrong with it first, then what the server's refusal says."""
    mine = case.mine
    if mine is None:
        return
    leaf = mine.leaf
    facts = (
        facts
        | {"subject": dn(leaf.subject), "issuer": dn(leaf.issuer), "cert": mine.cert, "key": mine.key}
        | _alert_facts(shown)
    )
    refused = turned_away(shown)
    code = shown.alert.code if shown.alert is not None else 0
    dates = date_facts(leaf, case.now)
    if refused and code == 44:
        case.add("client-revoked", facts | {"detail": "The server says so by its alert."})
        return
    if case.now > leaf.not_valid_after_utc:
        case.add("client-expired", facts | dates)
    elif case.now < leaf.not_valid_before_utc:
        case.add("client-not-yet-valid", facts | dates)
    _purpose(case, leaf, facts)
    if refused and (weak_key(leaf) or weak_digest(leaf)):
        detail = weak_digest(leaf).get("algorithm", "") or key_facts(leaf)["key_kind"]
        case.add("client-weak", facts | {"detail": detail})
    if shown.asked:
        _issuer(case, shown, facts, refused)
    told = case.has("client-expired", "client-not-yet-valid", "client-eku", "client-weak", "client-unknown-authority")
    if refused and not told and not case.has("client-chain-incomplete"):
        if shown.alert is not None and code == 45:
            case.add(
                "client-expired", facts | dates, why=("By the server's clock, that is; by this machine's it is valid.",)
            )
        else:
            case.add("client-refused", facts)


def _purpose(case: Case, leaf: x509.Certificate, facts: dict[str, str]) -> None:
    try:
        usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if ExtendedKeyUsageOID.CLIENT_AUTH not in usages and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in usages:
        case.add("client-eku", facts | {"usages": ", ".join(sorted(usage._name for usage in usages))})


def _issuer(case: Case, shown: Handshake, facts: dict[str, str], refused: bool) -> None:
    """Whether the server knows our issuer: by its list, by its alert, and by the CAs that we have."""
    mine = case.mine
    if mine is None:
        return
    sent = [one for one in map(read, mine.certificates) if one is not None]
    issuers = {one.issuer.public_bytes() for one in sent} | {one.subject.public_bytes() for one in sent[1:]}
    listed = set(shown.authorities)
    code = shown.alert.code if shown.alert is not None else 0
    if listed and not issuers & listed:
        between = _below_a_listed_one(case, sent[-1], listed)
        if between and refused:
            case.add("client-chain-incomplete", facts)
        elif refused:
            case.add(
                "client-unknown-authority", facts | {"detail": "Its issuer is not among those that the server lists."}
            )
        else:
            case.add("client-issuer-not-listed", facts)
    elif (
        refused
        and not listed
        and chain.looks_intermediate(case, sent[-1], _anchors(case))
        and not _issued_here(case, sent[-1])
    ):
        case.add("client-chain-incomplete", facts)
    elif refused and code in (0, 40, 42, 46, 48, 51) and _of_another_ca(case, sent[-1], code):
        detail = "Its issuer's name is one that the server accepts, and its key is another: the CA was made anew since."
        case.add(
            "client-unknown-authority",
            facts | {"detail": detail if listed else "It lists no issuers, and refuses ours."},
        )


def _below_a_listed_one(case: Case, top: x509.Certificate, listed: set[bytes]) -> bool:
    """Whether a CA that the server sends or that we were given stands between our certificate and a listed issuer."""
    shown = case.shown
    pool = [*(shown.certificates if shown is not None else ()), *case.trust.anchors[:200]]
    for one in map(read, pool):
        if (
            one is not None
            and one.subject == top.issuer
            and one.issuer.public_bytes() in listed
            and issued_by(top, one)
        ):
            return True
    return "intermediate" in dn(top.issuer).lower() or "issuing" in dn(top.issuer).lower()


def _anchors(case: Case) -> list[x509.Certificate]:
    return [one for one in map(read, case.trust.anchors[:200]) if one is not None]


def _issued_here(case: Case, top: x509.Certificate) -> bool:
    """Whether a CA that clients trust issued it, and the server most likely knows that CA too."""
    return any(one.subject == top.issuer and issued_by(top, one) for one in _anchors(case))


def _of_another_ca(case: Case, top: x509.Certificate, code: int) -> bool:
    return code == 48 or (case.trust.source != "system" and not _issued_here(case, top))
