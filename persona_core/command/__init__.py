"""The command `persona`: learning and painting many people without a server and without a graph."""

FINE, FAILED, USAGE = 0, 1, 2  # exit codes
