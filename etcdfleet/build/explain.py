"""What ``go`` says when it fails, and what a person can do about it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from etcdfleet.build.release import install_go, line_of
from etcdfleet.errors import FleetError, UsageError

MOST_LINES = 12


@dataclass(frozen=True)
class _Known:
    pattern: str
    what: str
    remedy: str
    error: type[FleetError] = FleetError


_PROXY = "the Go module proxy (go env GOPROXY)"
_KNOWN = (
    _Known(
        r"no space left on device|disk quota exceeded",
        "the disk is full",
        "make room: modules go to $(go env GOMODCACHE), compiled packages to $(go env GOCACHE), 0.3 GiB each for one "
        "architecture, the rest goes below TMPDIR; each can be another folder, by the variable of its name",
    ),
    _Known(
        r"checksum mismatch|SECURITY ERROR|invalid checksum",
        "what was fetched is not what etcd, or Go's checksum database, says it must be",
        "build nothing of this; go clean -modcache, and fetch again from another module proxy (GOPROXY)",
    ),
    _Known(
        r"sumdb|sum\.golang|verifying (go\.mod|module)",
        "what was fetched could not be checked by Go's checksum database",
        "let this machine reach it, or a module proxy that passes it on (GOPROXY); without either, "
        "GONOSUMDB=go.etcd.io takes etcd's modules as the proxy gives them, and all others by the sums that etcd notes",
    ),
    _Known(
        r"missing go\.sum entry|updates to go\.(mod|sum) needed|updating go\.(mod|sum)",
        "etcd's own go.mod and go.sum do not name all that this release needs",
        "build another patch release: this one would take what etcd has not tested",
    ),
    _Known(
        r"requires go >= [\d.]+|toolchain not available|download go1|invalid go version|unknown directive: toolchain",
        "this Go is too old for what etcd wants, and the one it wants cannot be had by itself",
        "{install}, or name a newer one by --go; with GOTOOLCHAIN=auto this one fetches what it needs where the module "
        "proxy has it",
        UsageError,
    ),
    _Known(
        r"invalid reference to|\.go:\d+:\d+: (?!.*\b(package|module)\b)",
        "the source does not compile with this Go",
        "etcd builds this release with {go}: {install of that line}, or name one by --go",
    ),
    _Known(
        r"module lookup disabled by GOPROXY=off|GOFLAGS=-mod=vendor|GOPROXY list is not the empty string",
        "Go may not fetch anything here, and has not kept what is needed",
        "set GOPROXY for this run to a module proxy, to direct, or to file:// and the downloads of another machine "
        "($(go env GOMODCACHE)/cache/download there)",
    ),
    _Known(
        r"build cache is required|GOCACHE is not defined|module cache not found|could not create module cache"
        r"|read-only file system|permission denied",
        "Go has no place to keep what it fetches and compiles",
        "set HOME, or GOCACHE and GOMODCACHE, to folders that this user can write to",
    ),
    _Known(
        r"x509: |tls: |certificate",
        f"{_PROXY} shows a certificate that this machine does not trust",
        "SSL_CERT_FILE names a file with its CA",
    ),
    _Known(
        r"no such host|connection refused|i/o timeout|network is unreachable|no route to host|TLS handshake timeout"
        r"|context deadline exceeded|connection reset|unexpected EOF|proxyconnect|server misbehaving",
        f"{_PROXY} cannot be reached",
        "run it where it can be; set HTTPS_PROXY if there is one on the way, or GOPROXY to a module proxy of your own",
    ),
    _Known(
        r"\b(403 Forbidden|404 Not Found|410 Gone)\b|unknown revision|no matching versions|invalid version"
        r"|no such file or directory$",
        f"{_PROXY} does not have it",
        "see that there is such a release of etcd; a proxy of your own may not have it yet: GOPROXY names another",
    ),
    _Known(
        r"\b(50[0-9] [A-Z]|429 Too Many)",
        f"{_PROXY} failed",
        "run it again later; what was fetched is kept",
    ),
    _Known(
        r"signal: killed|cannot allocate memory|out of memory",
        "the machine has too little memory",
        "let --jobs 1 compile one package at a time, or build on another machine: the archives are the same",
    ),
)


def explained(doing: str, said: str, code: int, upstream_go: str) -> FleetError:
    """Return what to tell of a ``go`` that ended with ``code`` and ``said`` this while ``doing`` something.

    ``upstream_go`` is the Go that etcd builds the release with, such as ``go1.25.12``; empty while it is not known.
    """
    lines = [line.rstrip() for line in said.splitlines() if line.strip() and not line.startswith("go: downloading ")]
    text = "\n".join(lines)
    for known in _KNOWN:
        if re.search(known.pattern, text, re.MULTILINE):
            what, remedy, error = known.what, known.remedy, known.error
            break
    else:
        error = FleetError
        what = f"go ended with exit code {code}" if code >= 0 else f"go was ended by signal {-code}"
        remedy = "run it again; where that fails too, take the Go that etcd builds this release with, {go}, by --go"
    remedy = remedy.replace("{go}", upstream_go or "an older Go")
    that_line = install_go(line_of(upstream_go))
    remedy = remedy.replace("{install}", install_go("")).replace("{install of that line}", that_line)
    shown = lines[-MOST_LINES:]
    quoted = "".join(f"\n    {line}" for line in shown)
    return error(f"{what}; it says:{quoted}" if shown else what, where=doing, remedy=remedy)
