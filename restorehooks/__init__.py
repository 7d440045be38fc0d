"""No PostgreSQL sequence is ever left behind the rows it numbers."""

__version__ = "0.1.0"
