"""Sends a message to a node, waits for its acknowledgement, then prints what nodes send.

python send_and_listen.py DATA_DIRECTORY NODE [COUNT]
"""

import sys

from edgeward.client import Answered, Client, MessageEvent

data, node = sys.argv[1:3]
count = int(sys.argv[3]) if len(sys.argv) > 3 else 0
authority = Client(data)
try:
    sent = authority.send(
        node, operation="update", resource="default/configmap/settings", content={"interval": 30}, wait=10
    )
except Answered as problem:
    sys.exit(f"{problem} ({problem.code})")
print(f"{sent.msg_id} {sent.state}", flush=True)
for event in authority.subscribe(types=["message"], node=node) if count else ():
    if isinstance(event, MessageEvent):
        print(event.node, event.message.route.operation, event.message.route.resource, flush=True)
        count -= 1
        if not count:
            break
