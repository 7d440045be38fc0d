"""A private PostgreSQL server, for when there is none to use.

Only the programs come from elsewhere: from ``PG_BINDIR``, from the machine, or from the wheel that
the extra ``embedded`` installs. This package starts and ends the server. It answers on a Unix
socket in a folder that nobody else may enter, and on TCP only when asked to. It ends with the last
process that uses it, however that process ends (see :mod:`restorehooks.embedded.keeper`).
"""

from restorehooks.embedded.errors import ServerError
from restorehooks.embedded.programs import server_folder
from restorehooks.embedded.server import Server
from restorehooks.embedded.shared import embedded_server

__all__ = ["Server", "ServerError", "embedded_server", "server_folder"]
