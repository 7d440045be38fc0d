"""What is raised when a private server cannot be had."""


class ServerError(Exception):
    """The private server cannot be used; the message is one sentence that says why."""
