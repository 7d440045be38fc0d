"""Django's storages as places where dumps live."""
