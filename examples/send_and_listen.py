"""Sends a message to a node, waits for its acknowledgement, then prints what it sends: send_and_listen.py DATA NODE [COUNT]."""

import sys
from itertools import islice

from edgeward.client import Answered, Client, MessageEvent

data, node, *count = sys.argv[1:]
authority = Client(data)
settings = {"resource": "default/configmap/settings", "content": {"interval": 30}}
try:
    sent = authority.send(node, operation="update", wait=10, **settings)
except Answered as problem:
    sys.exit(f"{problem} ({problem.code})")
print(f"{sent.msg_id} {sent.state}", flush=True)
heard = (event for event in authority.subscribe(types=["message"], node=node) if isinstance(event, MessageEvent))
for event in islice(heard, int(count[0]) if count else None):
    print(event.node, event.message.route.operation, event.message.route.resource, flush=True)
