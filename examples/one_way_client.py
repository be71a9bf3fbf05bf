"""A client of one-way TLS: of a private CA (`one_way_client.py URL ca.crt`) or of the machine's own roots (`one_way_client.py URL`)."""

import sys
import urllib.request

from edgeward import tls

if __name__ == "__main__":
    context = tls.client_context(sys.argv[2] if len(sys.argv) > 2 else "system")
    with urllib.request.urlopen(sys.argv[1], context=context) as answer:
        print(answer.read().decode(), end="")
