"""Foreign programs on the other side of the wire."""
