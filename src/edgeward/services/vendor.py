"""Whom a certificate for a vendor's request is for, where the operator says so or leaves it to the request. Pure.

An operator who signs hundreds of requests does not type hundreds of names: what the requests say is taken over, but only as the kind of
name that the profile gives, and it is shown before anything is signed.
"""

import re
from collections.abc import Sequence

from cryptography import x509

from edgeward.errors import PolicyRefused, UsageError
from edgeward.pki import names, requests
from edgeward.pki.csr import Requested
from edgeward.pki.profile import Profile
from edgeward.services.offline import Wanted

_OPERATOR = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,51}")

_SERVER_KINDS = (x509.DNSName, x509.IPAddress, x509.UniformResourceIdentifier, x509.RFC822Name)


def wanted(profile: Profile, requested: Requested, identity: str | None, sans: Sequence[x509.GeneralName]) -> Wanted:
    """The certificate that is wanted under `profile`: for `identity`, or for whom the request's common name says; with the alternative
    names `sans`, or, for a server, those of the request.

    Raises `BadName` for a node's name that is none, `PolicyRefused` for a request that does not say whom it is for.
    """
    if profile.name == "server":
        return _server(profile, requested, identity, tuple(sans))
    name = identity if identity is not None else _common_name(requested).removeprefix(names.NODE_PREFIX)
    if profile.name == "device":
        name = names.node_name(name)
    elif not _OPERATOR.fullmatch(name):
        raise PolicyRefused((f"{name!r} is no operator's name: up to 52 letters, digits, dots, hyphens, underscores",))
    return Wanted(profile=profile, identity=name, names=tuple(sans))


def _common_name(requested: Requested) -> str:
    found = names.common_names(requested.subject) if requested.subject is not None else ()
    if len(found) != 1:
        raise PolicyRefused(
            (f"the request has {len(found) or 'no'} common name{'s' * (len(found) > 1)}; say whom it is for",)
        )
    return found[0]


def _server(profile: Profile, requested: Requested, identity: str | None, sans: tuple[x509.GeneralName, ...]) -> Wanted:
    found = sans
    if not found and identity is None:
        found = tuple(name for name in requested.names if isinstance(name, _SERVER_KINDS))
    if not found:
        taken = named_host(identity) if identity is not None else _from_subject(requested)
        found = (taken,) if taken is not None else ()
    found = tuple(dict.fromkeys(found))
    if not found:
        raise PolicyRefused(("the request names no host and no address; say which: --san dns:NAME",))
    if len(found) > requests.MAX_NAMES:
        raise UsageError(problem=f"{len(found)} alternative names are more than {requests.MAX_NAMES}")
    common = identity if identity is not None else names.show(found[0]).removeprefix("URI:").removeprefix("email:")
    if not common.isprintable() or not 1 <= len(common) <= 64:
        common = common[:64] if common.isprintable() and common else "server"
    return Wanted(profile=profile, identity=common, names=found)


def named_host(name: str) -> x509.GeneralName | None:
    """The alternative name that `name` stands for when it looks like a host name or an address; None otherwise."""
    if not 0 < len(name) <= 64:
        return None
    return requests.name_from_subject(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))


def _from_subject(requested: Requested) -> x509.GeneralName | None:
    return None if requested.subject is None else requests.name_from_subject(requested.subject)
