"""The library under the runbooks: settings, connections, certificates, cluster decisions and reports."""

__version__ = "0.1.0"
