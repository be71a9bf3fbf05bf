"""RFC 5280 to the letter, through pkilint where it is installed: its findings as ours."""

import logging
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from edgeward.errors import printable
from edgeward.pki.lint import Finding
from edgeward.pki.severity import Severity, worst_first

INSTALL = "pip install 'edgeward[lint]'"

_SEVERITIES = {
    "FATAL": Severity.ERROR,
    "ERROR": Severity.ERROR,
    "WARNING": Severity.WARNING,
    "NOTICE": Severity.NOTE,
}
"""What is left out says how a certificate was made, not what is wrong with it."""

_PARAGRAPHS = {
    "serialNumber": "4.1.2.2", "signature": "4.1.2.3", "issuer": "4.1.2.4", "validity": "4.1.2.5", "subject": "4.1.2.6",
    "subjectPublicKeyInfo": "4.1.2.7", "authorityKeyIdentifier": "4.2.1.1", "subjectKeyIdentifier": "4.2.1.2",
    "keyUsage": "4.2.1.3", "certificatePolicies": "4.2.1.4", "policyMappings": "4.2.1.5", "subjectAltName": "4.2.1.6",
    "issuerAltName": "4.2.1.7", "basicConstraints": "4.2.1.9", "nameConstraints": "4.2.1.10",
    "policyConstraints": "4.2.1.11", "extKeyUsage": "4.2.1.12", "cRLDistributionPoints": "4.2.1.13",
    "inhibitAnyPolicy": "4.2.1.14", "authorityInfoAccess": "4.2.2.1", "extensions": "4.2",
}  # fmt: skip
"""The section of RFC 5280 for the fields that findings point at, the last that fits counts."""

_SINGLE_LABEL = "pkix.invalid_domain_name_syntax"
"""Also said of `localhost` and of the short names of a private network, which TLS clients match well."""

_SPIFFE = "pkix.invalid_uri_syntax"
"""Also said of SPIFFE identities, whose scheme is not among those that pkilint knows; our own rules judge their form."""


def installed() -> bool:
    """Whether pkilint is there."""
    return find_spec("pkilint") is not None


class Linter:
    """pkilint's RFC 5280 rules. Loading them takes a quarter of a second, a certificate some milliseconds."""

    def __init__(self) -> None:
        logging.getLogger("pkilint").addHandler(
            logging.NullHandler()
        )  # it says its own errors to the terminal otherwise
        certificate = import_module("pkilint.pkix.certificate")
        attributes = import_module("pkilint.pkix.name").ATTRIBUTE_TYPE_MAPPINGS
        extensions = import_module("pkilint.pkix.extension").EXTENSION_MAPPINGS
        self._load = import_module("pkilint.loader").load_certificate
        self._validator = certificate.create_pkix_certificate_validator_container(
            certificate.create_decoding_validators(attributes, extensions),
            [
                certificate.create_issuer_validator_container([]),
                certificate.create_validity_validator_container(),
                certificate.create_subject_validator_container([]),
                certificate.create_extensions_validator_container([]),
                certificate.create_spki_validator_container([]),
            ],
        )

    def lint(self, der: bytes) -> tuple[Finding, ...]:
        """What RFC 5280 has against the certificate in `der`, the gravest first."""
        try:
            results = self._validator.validate(self._load(der, "certificate").root)
            found = [finding for result in results for finding in _findings(result)]
        except Exception as error:  # foreign code on hostile input: whatever it raises, the other rules have their say
            logging.getLogger(__name__).info("pkilint gave up: %s", error)
            text = f"pkilint could not read it to the end ({type(error).__name__})"
            return (
                Finding(
                    id="pkilint-gave-up", severity=Severity.NOTE, text=text, paragraph="", remedy="", source="rfc5280"
                ),
            )
        return tuple(worst_first(found))


def _findings(result: Any) -> Iterator[Finding]:
    path = str(result.node.path)
    for description in result.finding_descriptions:
        severity = _SEVERITIES.get(description.finding.severity.name)
        code, message = str(description.finding.code), printable(description.message or "")
        if severity is None:
            continue
        if code == _SINGLE_LABEL and "." not in message:
            severity, message = Severity.NOTE, f"{message} (a name of one label: good in a private network alone)"
        if code == _SPIFFE and '"spiffe://' in message:
            severity, message = Severity.NOTE, f"{message} (a SPIFFE identity, whose scheme pkilint does not know)"
        section = [number for part in path.split(".") if (number := _PARAGRAPHS.get(part))]
        yield Finding(
            id=code,
            severity=severity,
            text=message or code.rpartition(".")[2].replace("_", " "),
            paragraph=f"RFC 5280 {section[-1]}" if section else "RFC 5280",
            remedy="",
            source="rfc5280",
            field=path.removeprefix("certificate.tbsCertificate."),
        )
