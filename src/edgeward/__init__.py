"""Edgeward: the certificate authority and the secure front door of an edge fleet.

Nothing is imported here, so that whoever needs one part pays for that part. For programs: `edgeward.tls` (contexts), `edgeward.testing`
(a throw-away CA), `edgeward.pki.verify`, `edgeward.pki.formats.detect`, `edgeward.pki.inspect.describe`, `edgeward.pki.lint`,
`edgeward.errors`. `docs/howto/programs.md` has examples of each.
"""

__version__ = "0.1.0"
