"""The doctor's judgement: facts in, findings out; nothing here opens a socket or a file.

`catalogue` is the one place that knows what a finding is called, whom it concerns, how each program words it and what mends it. The
`table_*` files are its lines.
"""
