"""Set-up, server, demo, checkpoints for tests: what this project runs itself with."""
