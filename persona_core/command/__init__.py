"""The command `persona`: learning and painting many people without a server and without a graph."""
