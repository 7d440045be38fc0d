"""The app whose models are made by number."""
