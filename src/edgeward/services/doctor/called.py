"""Judging names: whether the server's certificate is for what clients dial."""

from edgeward.errors import printable
from edgeward.pki import dialled
from edgeward.pki.dialled import Client, Names
from edgeward.services.doctor.case import Case, read

BROWSERS = {Client.BROWSER: "Chrome"}


def judge(case: Case) -> None:
    """Add what is wrong with the names of the server's certificate."""
    shown = case.shown
    leaf = read(shown.certificates[0]) if shown is not None else None
    if shown is None or leaf is None:
        return
    names, name = Names.of(leaf), case.contact.name
    is_address = dialled.address(name) is not None
    facts = {
        "valid": names.listed,
        "valid_addresses": ", ".join(names.addresses),
        "altnames": names.listed,
        "wanted_san": wanted(names, name),
        "kubeedge_list": "advertiseAddress" if is_address else "dnsNames",
        "cert_manager_list": "ipAddresses" if is_address else "dnsNames",
    }
    id_ = dialled.why_not(names, name)
    said = {BROWSERS.get(client, client.value): text for client, text in dialled.said(names, name).items()}
    if id_:
        _refused(case, id_, names, facts, said)
    elif refusing := [client for client in Client if not dialled.accepts(client, names, name)]:
        detail = "They want two labels after the * of a wildcard."
        case.add("name-for-some", facts | {"refusing": ", ".join(refusing), "detail": detail}, said=said)
    _without_name(case, names)


def _refused(case: Case, id_: str, names: Names, facts: dict[str, str], said: dict[str, str]) -> None:
    nameless = case.contact.nameless
    other = read(nameless.certificates[0]) if nameless is not None and nameless.certificates else None
    why: tuple[str, ...] = ()
    if names.common_name and id_ != "common-name-only" and names.common_name.lower() == case.contact.name.lower():
        why = (f"Its common name is {printable(names.common_name)}, and that is not looked at.",)
    if other is not None and dialled.accepts(Client.GO, Names.of(other), case.contact.name):
        why = (*why, "A client that does not say the name in its hello (SNI) gets a certificate that would do.")
    case.add(id_, facts, said=said, why=why)


def wanted(names: Names, name: str) -> str:
    """Every name that a new certificate should have, as OpenSSL writes them: those of now, and the one that is missing."""
    kept = [f"DNS:{one}" for one in names.dns if one.strip() and dialled.address(one) is None]
    kept += [f"IP:{one}" for one in names.addresses]
    bare = name.partition("%")[0]
    new = f"IP:{bare}" if dialled.address(bare) is not None else f"DNS:{bare.removesuffix('.')}"
    return ",".join([*kept[:50], *([] if new in kept else [new])])


def wanted_of(case: Case) -> str:
    """The same for the certificate that the server shows."""
    shown = case.shown
    leaf = read(shown.certificates[0]) if shown is not None else None
    return wanted(Names.of(leaf) if leaf is not None else Names(), case.contact.name)


def _without_name(case: Case, names: Names) -> None:
    """What a client sees that does not say which name it calls."""
    shown, nameless = case.shown, case.contact.nameless
    if shown is None or nameless is None or shown is nameless:
        return
    if not nameless.certificates:
        if nameless.alert is not None and shown.certificates:
            case.add("sni-matters", {"other": "none at all, and ends the handshake"})
        return
    other = read(nameless.certificates[0])
    if other is not None and nameless.certificates[0] != shown.certificates[0]:
        case.add("sni-matters", {"other": f"the one for {Names.of(other).listed}"})
