"""Edgeward: the certificate authority and the secure front door of an edge fleet."""

__version__ = "0.1.0"
