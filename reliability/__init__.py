"""Load, faults and attacks, against the real server on this machine."""
