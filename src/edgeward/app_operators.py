"""The part of the composition root that serves operators over the network: the administrative API behind mutual TLS."""

from collections.abc import Callable, Sequence
from datetime import datetime
from hashlib import sha256

from edgeward.errors import CertificateRefused, EdgewardError
from edgeward.model.authority import CertificateRecord
from edgeward.model.http import Response
from edgeward.services.operators import Operators
from edgeward.transports import http
from edgeward.transports.limits import HttpLimits
from edgeward.web.api import Api
from edgeward.web.operators import Door
from edgeward.web.problems import problem

LIMITS = HttpLimits(body_octets=40 * 1024 * 1024, idle_seconds=75.0)
"""A message of 32 MiB is the largest body. TLS lets every holder of a certificate of ours in, devices and operators who were revoked, too:
whoever sends more than a little is looked up first, else one of them fills the memory."""


class OperatorPort:
    """What listens for operators: give `serve` to a mutual-TLS listener."""

    def __init__(
        self, api: Api, operators: Operators, *, now: Callable[[], datetime], names: Callable[[], tuple[str, ...]]
    ) -> None:
        self._operators = operators
        self._now = now
        respond = Door(api.respond, operators, now=now, names=names).respond
        self.serve = http.Http(respond, now=now, limits=LIMITS, admit=self._admit)

    async def _admit(self, certificate: bytes | None) -> Response | None:
        try:
            await self._operators.admit(certificate, self._now())
        except EdgewardError as error:
            return problem(error)
        return None

    def cut(self, revoked: Sequence[CertificateRecord]) -> None:
        """End the connections of operators whose certificates were revoked."""
        self.serve.cut_peers({one.fingerprint for one in revoked if one.fingerprint is not None})

    async def recheck(self) -> None:
        """End the connections of operators who were revoked elsewhere."""
        gone = set()
        for der in {one.certificate for one in self.serve.open if one.certificate is not None}:
            try:
                await self._operators.admit(der, self._now())
            except CertificateRefused:
                gone.add(sha256(der).digest())
        self.serve.cut_peers(gone)
