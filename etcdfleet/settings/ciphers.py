"""Cipher suites of TLS 1.2 by the names that Go, and so etcd, has for them.

TLS 1.3 has suites of its own, all of them good, which cannot be chosen in Go (crypto/tls, Config.CipherSuites). Tried
with etcd 3.4.23, 3.5.1, 3.5.16, 3.5.30, 3.6.14 and 3.7.1: all know these names, and end at once for another one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

GOOD: Mapping[str, int] = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": 0xC02B,
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": 0xC02F,
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": 0xC02C,
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": 0xC030,
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": 0xCCA9,
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": 0xCCA8,
}
"""Forward secrecy (ECDHE) and authenticated encryption: RFC 9325, 4.2 recommends these, and no others."""
WEAK: Mapping[str, int] = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": 0xC009,
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": 0xC013,
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": 0xC00A,
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": 0xC014,
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256": 0xC023,
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256": 0xC027,
    "TLS_RSA_WITH_AES_128_GCM_SHA256": 0x009C,
    "TLS_RSA_WITH_AES_256_GCM_SHA384": 0x009D,
    "TLS_RSA_WITH_AES_128_CBC_SHA256": 0x003C,
    "TLS_RSA_WITH_AES_128_CBC_SHA": 0x002F,
    "TLS_RSA_WITH_AES_256_CBC_SHA": 0x0035,
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA": 0xC012,
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA": 0x000A,
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA": 0xC007,
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA": 0xC011,
    "TLS_RSA_WITH_RC4_128_SHA": 0x0005,
}
"""The others that Go has: without forward secrecy (RSA), CBC, 3DES, RC4."""
NUMBERS: Mapping[str, int] = {**GOOD, **WEAK}
ALIASES: Mapping[str, str] = {
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305": "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305": "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
}
TLS13 = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
NEEDED = ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")
"""HTTP/2 demands one of these of a server (RFC 7540, 9.2.2), and etcd does not start without."""


def fits(suite: str, key: str) -> bool:
    """Return whether a server with that kind of key (``rsa-2048``, ``ec-p256``, …) can use the suite."""
    return ("_ECDSA_" in suite) == key.startswith("ec")


def without_fit(suites: Sequence[str], key: str) -> bool:
    """Return whether a server with that kind of key can use none of the suites: no client could connect by TLS 1.2."""
    return not any(fits(suite, key) for suite in suites)
