"""Proxies in this machine's environment: whether one stands between it and an address, for messages."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Proxy:
    """The proxy for an address. ``address`` is free of credentials, ``variable`` the one that names it."""

    address: str
    variable: str
    past: str
    """The command after which the address is reached without it."""

    def __str__(self) -> str:
        return f"the proxy {self.address} ({self.variable})"


def proxy_for(url: str, environ: Mapping[str, str] | None = None) -> Proxy | None:
    """Return the proxy that `requests` uses for ``url``; none where NO_PROXY names its host."""
    from requests.utils import get_environ_proxies, select_proxy

    env = os.environ if environ is None else environ
    proxy = select_proxy(url, get_environ_proxies(url))
    if not proxy:
        return None
    variable = next((name for name, value in sorted(env.items()) if value == proxy and _is_proxy(name)), "")
    host = urlsplit(url).hostname or ""
    # requests looks at the name in lower case first.
    exempt = next((name for name in ("no_proxy", "NO_PROXY") if env.get(name)), "NO_PROXY")
    before = f"${exempt}," if env.get(exempt) else ""
    past = f'export {exempt}="{before}{host}"'
    return Proxy(re.sub(r"//[^/@]*@", "//", proxy), variable or "set for this machine", past)


def _is_proxy(name: str) -> bool:
    return name.lower().endswith("_proxy") and name.lower() != "no_proxy"
