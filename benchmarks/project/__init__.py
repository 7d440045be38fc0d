"""A Django project to compare with: as many models as asked for, with and without the app."""
