"""All entries of the catalogue by id."""

from edgeward.services.doctor import (
    table_authority,
    table_chain,
    table_files,
    table_log,
    table_names,
    table_network,
    table_tls,
    table_token,
)
from edgeward.services.doctor.catalogue import Entry

TABLES = (
    table_network.ENTRIES, table_names.ENTRIES, table_chain.ENTRIES, table_tls.ENTRIES, table_token.ENTRIES, table_log.ENTRIES,
    table_files.ENTRIES, table_authority.ENTRIES,
)  # fmt: skip
"""In the order in which causes are looked for: what cannot be reached has no names, what has no names no chain."""

ENTRIES: dict[str, Entry] = {entry.id: entry for table in TABLES for entry in table}
