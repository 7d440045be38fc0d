"""The exit codes that commands share."""

FAILED, WRONG_USAGE = 1, 2
INTERRUPTED, CUT_OFF = 130, 141
"""Those of a program that is ended by SIGINT and by SIGPIPE, as a shell has them."""
