"""Revocation: whether the certificates of a path are known to be good. RFC 5280 section 6.3 and RFC 6960.

A list or response counts when it is current, in scope, and signed by somebody with a path to the anchor of the very
path that is judged. A signer that is not in that path is judged like any certificate, its own revocation included; a
signer whose list covers the signer itself is taken at its word unless that list names it. What is not known to be good
fails: silence is not consent.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509

from edgeward.pki.verify import crl as crls
from edgeward.pki.verify import ocsp
from edgeward.pki.verify.algorithms import Algorithms, key_objection, signature_objection
from edgeward.pki.verify.build import Path
from edgeward.pki.verify.facts import Facts
from edgeward.pki.verify.meter import Meter
from edgeward.pki.verify.options import Profile
from edgeward.pki.verify.verdict import Check, failed, passed

_REMEDY = "fetch the CA's current CRL or an OCSP response and give it with --crl or --ocsp"
_REVOKED = "do not use it: enrol again with a new key"
_REVOKED_CA = "nothing below this CA is to be used: get a certificate of another CA"

SignerPath = Callable[[Facts, Facts], str]
"""Why the first certificate has no valid path to the second, an anchor; or an empty string."""


@dataclass(slots=True)
class Statuses:
    """Looks up the status of certificates in the CRLs and responses at hand."""

    lists: Sequence[crls.Crl]
    responses: Sequence[ocsp.Response]
    pool: Sequence[Facts]
    now: datetime
    algorithms: Algorithms
    profile: Profile
    meter: Meter
    signer_path: SignerPath
    _trust: dict[tuple[bytes, ...], str] = field(default_factory=dict)
    _judging: set[tuple[bytes, bytes]] = field(default_factory=set)
    _signers: dict[tuple[bytes, bytes], str] = field(default_factory=dict)

    def check(self, path: Path, position: int) -> Check:
        """The status of the certificate at `position` of `path`, which is not the anchor."""
        certificate, issuer = path.whole[position], path.whole[position + 1]
        name = certificate.title
        reading = ocsp.Reading(self.now, self.algorithms, self.meter, lambda signer: self._vouched(signer, path))
        singles, refused = reading.look_up(certificate, issuer, self.responses)
        answer = crls.look_up(certificate, self.lists, lambda crl: self._distrust(crl, path))
        reasons = [single.revoked for single in singles if single.revoked is not None]
        reasons += [answer.revoked] if answer.revoked is not None else []
        paragraph = "RFC 5280 section 6.1.3(a)(3)"
        if reasons:
            words = f"it is revoked ({reasons[0].value})"
            return failed("revocation", paragraph, words, position, name, _REVOKED if position == 0 else _REVOKED_CA)
        if singles or answer.good:
            by = "an OCSP response" if singles else "the CRL"
            return passed("revocation", paragraph, f"{by} says that it is not revoked", position, name)
        notes = [f"{one.title}: {why}" for one, why in answer.why_not]
        notes += [f"{response.title}: {why}" for response, why in refused]
        notes = list(dict.fromkeys(notes))
        words = "nothing says whether it is revoked" + (f" ({'; '.join(notes[:3])})" if notes else "")
        if answer.covered and not notes:
            words = "the CRLs do not cover every reason for which it may be revoked"
        return failed("revocation", paragraph, words, position, name, _REMEDY)

    def _vouched(self, signer: Facts, path: Path) -> str:
        """Why an OCSP responder without id-pkix-ocsp-nocheck does not count. RFC 6960 section 4.2.2.2.1."""
        answer = crls.look_up(signer, self.lists, lambda crl: self._distrust(crl, path))
        if answer.revoked is not None:
            return "its signer is revoked"
        return "" if answer.good else "nothing says whether its signer is revoked"

    def _distrust(self, crl: crls.Crl, path: Path) -> str:
        """Why `crl` is not current and authentic under the anchor of `path`; empty when it is. Section 6.3.3(f)-(g)."""
        about = (crl.der, *(authority.der for authority in path.whole[1:]))
        if about not in self._trust:
            form = crl.form[0] if crl.form and self.profile is not Profile.DEVICE else ""
            why = crl.stale(self.now) or form or signature_objection(crl.signed, self.algorithms)
            self._trust[about] = why or self._not_signed(crl, path)
        return self._trust[about]

    def _not_signed(self, crl: crls.Crl, path: Path) -> str:
        candidates = {one.der: one for one in (*path.whole[1:], *self.pool) if one.subject == crl.issuer}
        why = "its signature does not verify" if candidates else "its signer is not at hand"
        for signer in sorted(candidates.values(), key=lambda one: one.subject_key_id != crl.key_id):
            key = self.meter.key(signer.spki)
            usage = signer.extension(x509.KeyUsage)
            if isinstance(key, str) or key_objection(key, self.algorithms):
                why = "its signer's key is not good enough"
            elif not self.meter.verifies(crl.signed, signer.spki, self.algorithms):
                continue
            elif usage is not None and not usage.crl_sign:
                why = "keyUsage does not let its signer sign CRLs"
            elif reason := self._untrusted(signer, path):
                why = f"its signer has no valid path to the anchor: {reason}"
            else:
                return ""
        return why

    def _untrusted(self, signer: Facts, path: Path) -> str:
        """Why the signer of a CRL has no valid path to the anchor, or an empty string."""
        if any(signer.der == certificate.der for certificate in path.whole[1:]):
            return ""
        about = (signer.der, path.anchor.der)
        if about in self._judging:
            return ""
        if about not in self._signers:
            self._judging.add(about)
            self._signers[about] = self.signer_path(signer, path.anchor)
            self._judging.discard(about)
        return self._signers[about]
