"""The command line's way to a running authority: the socket in its data directory, or the server that the environment names."""

import os
from pathlib import Path

from edgeward import client
from edgeward.client import Answered

__all__ = ["Answered", "Client"]


class Client(client.Client):
    """The authority in `EDGEWARD_SERVER` (with the operator in `EDGEWARD_OPERATOR`), else the one whose data directory is `data`."""

    def __init__(self, data: Path) -> None:
        server = os.environ.get("EDGEWARD_SERVER")
        if server:
            super().__init__(server=server, operator=os.environ.get("EDGEWARD_OPERATOR"))
        else:
            super().__init__(data)
