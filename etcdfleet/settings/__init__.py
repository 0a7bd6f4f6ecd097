"""Typed settings of the fleet, read from the inventory's data: see ``docs/settings.md``."""
