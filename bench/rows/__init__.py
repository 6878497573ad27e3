"""One file for each row of the table: what is measured, the peer, the target (times the peer's rate; None: only told)."""
