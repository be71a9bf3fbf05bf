"""The part of the administrative API that replaces the CA: make the next one, see which devices trust it, sign with it."""

from edgeward.errors import NotYetTrusted
from edgeward.model.authority import Issuer
from edgeward.model.http import Request, Response
from edgeward.web.bodies import Strict, actor, body, json
from edgeward.web.platform import Platform


class Prepare(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/ca/prepare`: the common name of the next CA."""

    name: str


class Activate(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/ca/activate`. `force`: although devices that are connected do not trust it yet."""

    force: bool = False


async def _prepare(platform: Platform, request: Request) -> Response:
    """Make the CA that is to follow, and tell every agent to trust it."""
    issuer = await platform.authorities.prepare(body(request, Prepare).name, actor=actor(request), now=platform.now())
    platform.hub.trust.changed()
    return json(_facts(platform, issuer), 201)


async def _activate(platform: Platform, request: Request) -> Response:
    """Sign with the prepared CA from now on."""
    behind = _behind(platform)
    if behind and not body(request, Activate).force:
        raise NotYetTrusted(count=len(behind), nodes=", ".join(behind[:5]))
    issuer = await platform.authorities.activate(actor=actor(request), now=platform.now())
    await platform.reload()
    platform.hub.trust.changed()
    return json(_facts(platform, issuer))


async def _trust(platform: Platform, request: Request) -> Response:
    """The trust bundle, and which devices have confirmed it."""
    return json(_facts(platform, platform.authorities.active))


def _facts(platform: Platform, issuer: Issuer) -> dict[str, object]:
    bundle = platform.authorities.bundle
    held = platform.hub.trust.held
    return {
        "pin": issuer.pin,
        "state": issuer.state,
        "bundle": None if bundle is None else bundle.sequence,
        "anchors": 0 if bundle is None else len(bundle.anchors),
        "confirmed": sum(bundle is not None and number == bundle.sequence for number in held.values()),
        "behind": _behind(platform),
    }


def _behind(platform: Platform) -> list[str]:
    return platform.hub.trust.behind(one.node for one in platform.hub.online())


ROUTES = (
    ("POST", r"/v1/ca/prepare", _prepare),
    ("POST", r"/v1/ca/activate", _activate),
    ("GET", r"/v1/ca/trust", _trust),
)
