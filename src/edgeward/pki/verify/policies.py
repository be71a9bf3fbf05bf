"""Certificate policies and their mappings: the policy graph of RFC 9618, which replaces the policy tree of RFC 5280
section 6.1.

A level of the graph is a table from policy to its node; a node knows the policies of the level above that it came from.
So a policy is one node in its level whatever the number of ways that lead to it, and the graph grows with the octets of
the certificates, not with the product of their mappings.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cryptography import x509

from edgeward.pki.verify.facts import Facts
from edgeward.pki.verify.options import ANY_POLICY, PolicyInputs
from edgeward.pki.verify.verdict import Check, failed, passed

_PARAGRAPH = "RFC 9618 section 5"
_REMEDY = "the CAs of the path must assert a common policy: ask the issuer for a certificate under one that you accept"


@dataclass(slots=True)
class _Node:
    """One policy at one level: what is expected of the next certificate, and the policies above that it came from."""

    expected: set[str]
    parents: set[str]


_Level = dict[str, _Node]


@dataclass(slots=True)
class _Graph:
    """The levels, from the anchor's (one anyPolicy node) down. Empty when the graph is NULL."""

    levels: list[_Level] = field(default_factory=lambda: [{ANY_POLICY: _Node({ANY_POLICY}, set())}])

    def clear(self) -> None:
        self.levels = []

    def prune(self) -> None:
        """Drop the nodes that have no child, from the last level but one upwards. RFC 9618 section 5.2(d)(3)."""
        for upper, lower in zip(reversed(self.levels[:-1]), reversed(self.levels[1:]), strict=True):
            used: set[str] = set().union(*(node.parents for node in lower.values()))
            for policy in [policy for policy in upper if policy not in used]:
                del upper[policy]
        if self.levels and not self.levels[-1]:
            self.clear()

    def extend(self, policies: Sequence[str], any_allowed: bool) -> None:
        """Add the level of one certificate that asserts `policies`. RFC 9618 section 5.2(d)."""
        above = self.levels[-1]
        expecting: dict[str, set[str]] = {}
        for policy, node in above.items():
            for wanted in node.expected:
                expecting.setdefault(wanted, set()).add(policy)
        level: _Level = {}
        for policy in policies:
            if policy == ANY_POLICY:
                continue
            if policy in expecting:
                level[policy] = _Node({policy}, expecting[policy])
            elif ANY_POLICY in above:
                level[policy] = _Node({policy}, {ANY_POLICY})
        if any_allowed and ANY_POLICY in policies:
            for policy, parents in expecting.items():
                level.setdefault(policy, _Node({policy}, parents))
        self.levels.append(level)
        self.prune()

    def map(self, mappings: Iterable[tuple[str, str]], allowed: bool) -> None:
        """Apply the policy mappings of one certificate to its level. RFC 9618 section 5.3(b)."""
        targets: dict[str, set[str]] = {}
        for issuer_policy, subject_policy in mappings:
            targets.setdefault(issuer_policy, set()).add(subject_policy)
        level = self.levels[-1]
        for policy, subjects in targets.items():
            if not allowed:
                level.pop(policy, None)
            elif policy in level:
                level[policy].expected = subjects
            elif ANY_POLICY in level:
                level[policy] = _Node(subjects, {ANY_POLICY})
        if not allowed:
            self.prune()

    def authority_constrained(self) -> set[str]:
        """The policies, in the anchor's own domain, for which the path is valid. RFC 9618 section 5.4(g)."""
        if not self.levels:
            return set()
        found = {
            policy
            for level in self.levels[1:]
            for policy, node in level.items()
            if ANY_POLICY in node.parents and policy != ANY_POLICY
        }
        return found | ({ANY_POLICY} if ANY_POLICY in self.levels[-1] else set())


@dataclass(slots=True)
class _Counters:
    """The state variables explicit_policy, inhibit_anyPolicy and policy_mapping. RFC 5280 section 6.1.2(d)-(f)."""

    explicit: int
    inhibit_any: int
    mapping: int

    def tick(self, certificate: Facts) -> None:
        """Step over one certificate that is not the last. RFC 5280 section 6.1.4(h)-(j)."""
        if not certificate.self_issued:
            self.explicit = max(0, self.explicit - 1)
            self.mapping = max(0, self.mapping - 1)
            self.inhibit_any = max(0, self.inhibit_any - 1)
        limits = certificate.extension(x509.PolicyConstraints)
        if limits is not None and limits.require_explicit_policy is not None:
            self.explicit = min(self.explicit, limits.require_explicit_policy)
        if limits is not None and limits.inhibit_policy_mapping is not None:
            self.mapping = min(self.mapping, limits.inhibit_policy_mapping)
        inhibit = certificate.extension(x509.InhibitAnyPolicy)
        if inhibit is not None:
            self.inhibit_any = min(self.inhibit_any, inhibit.skip_certs)

    def finish(self, leaf: Facts) -> None:
        """Step over the last certificate. RFC 5280 section 6.1.5(a)-(b)."""
        self.explicit = max(0, self.explicit - 1)
        limits = leaf.extension(x509.PolicyConstraints)
        if limits is not None and limits.require_explicit_policy == 0:
            self.explicit = 0


def _asserted(certificate: Facts) -> list[str] | None:
    policies = certificate.extension(x509.CertificatePolicies)
    return None if policies is None else [policy.policy_identifier.dotted_string for policy in policies]


def check_policies(path: Sequence[Facts], inputs: PolicyInputs) -> tuple[list[Check], tuple[str, ...]]:
    """Process the policies of `path`, which starts at the leaf. The checks, and the user-constrained policy set."""
    beyond = len(path) + 1
    counters = _Counters(
        0 if inputs.require_explicit else beyond,
        0 if inputs.inhibit_any else beyond,
        0 if inputs.inhibit_mapping else beyond,
    )
    graph = _Graph()
    for position in range(len(path) - 1, -1, -1):
        certificate = path[position]
        asserted = _asserted(certificate)
        if asserted is None:
            graph.clear()
        elif graph.levels:
            any_allowed = counters.inhibit_any > 0 or (position > 0 and certificate.self_issued)
            graph.extend(asserted, any_allowed)
        if counters.explicit == 0 and not graph.levels:
            words = "an explicit policy is required, and no policy is valid down to here"
            return [failed("policies", _PARAGRAPH, words, position, certificate.title, _REMEDY)], ()
        if position == 0:
            counters.finish(certificate)
            continue
        mappings = certificate.policy_mappings
        if any(ANY_POLICY in pair for pair in mappings):
            words = "it maps a policy to or from anyPolicy"
            paragraph = "RFC 5280 section 6.1.4(a)"
            return [failed("policy-mappings", paragraph, words, position, certificate.title)], ()
        if graph.levels and mappings:
            graph.map(mappings, counters.mapping > 0)
        counters.tick(certificate)
    return _conclusion(graph, counters, inputs)


def _conclusion(graph: _Graph, counters: _Counters, inputs: PolicyInputs) -> tuple[list[Check], tuple[str, ...]]:
    """Intersect with the policies that the caller accepts. RFC 9618 section 5.4(g)."""
    valid = graph.authority_constrained()
    if ANY_POLICY not in inputs.acceptable:
        valid = set(inputs.acceptable) if ANY_POLICY in valid else valid & inputs.acceptable
    if counters.explicit == 0 and not valid:
        words = "an explicit policy is required, and the path is valid for none that is accepted"
        return [failed("policies", _PARAGRAPH, words, remedy=_REMEDY)], ()
    if not valid:
        words = "the path is valid for no policy, and none is required"
    elif valid == {ANY_POLICY}:
        words = "the path is valid for any policy"
    else:
        words = f"the path is valid for {len(valid)} {'policy' if len(valid) == 1 else 'policies'}"
    return [passed("policies", _PARAGRAPH, words)], tuple(sorted(valid))
