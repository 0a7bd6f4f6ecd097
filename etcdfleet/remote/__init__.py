"""The one place that knows there is SSH: log in to a host, run commands there as root, put files there."""

from etcdfleet.remote.commands import CommandResult, RemoteFile, last_lines, outliving
from etcdfleet.remote.host import Held, RemoteHost
from etcdfleet.remote.login import connect, let_go

__all__ = ["CommandResult", "Held", "RemoteFile", "RemoteHost", "connect", "last_lines", "let_go", "outliving"]
