"""Checks of single values: each takes what the inventory holds and returns it normalised, or refuses it with a remedy.

A value of a wrong type is refused by the model's field.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from datetime import timedelta
from typing import Annotated, NoReturn

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer
from pydantic_core import PydanticCustomError

from etcdfleet.renewal import RenewBefore
from etcdfleet.settings.ciphers import ALIASES, GOOD, NEEDED, NUMBERS, TLS13
from etcdfleet.settings.texts import address_fault, is_address
from etcdfleet.text import go_duration, parse_duration, parse_size


def refuse(what: str, remedy: str) -> NoReturn:
    """Report a wrong value from inside a validator; both texts reach the user unchanged."""
    raise PydanticCustomError("etcdfleet", "{what}", {"what": what, "remedy": remedy})


def _text(value: object) -> str | None:
    """Return what is meant as text, without quotes around digits, too."""
    return str(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else None


def check_duration(value: object) -> object:
    """Return a duration that was given as text or as a timedelta."""
    if isinstance(value, timedelta):
        return value
    text = _text(value)
    if text is None:
        return refuse("is not a duration", "write a number and a unit: 90s, 15m, 8h, 30d")
    try:
        return parse_duration(text)
    except ValueError:
        if text.strip().isdigit():
            return refuse(f"{text} has no unit", f"write a number and a unit, such as {text}h or {text}s")
        return refuse(f"{text!r} is not a duration", "write a number and a unit: 90s, 15m, 8h, 30d")


def check_size(value: object) -> object:
    """Return a size in bytes that was given as a number or as text with a unit."""
    if not isinstance(value, int | str) or isinstance(value, bool):
        return refuse("is not a size", "write bytes as a whole number, or a size such as 512MiB or 1GiB")
    try:
        return parse_size(value)
    except ValueError:
        return refuse(f"{value!r} is not a size", "write bytes as a whole number, or a size such as 512MiB or 1GiB")


def check_renew_before(value: object) -> object:
    """Return a fraction of the life or a duration."""
    if isinstance(value, RenewBefore):
        return value
    remedy = 'write a fraction of the life, such as "1/3", or a time before the end, such as 720h'
    text = _text(value)
    if text is None:
        return refuse("is neither a fraction nor a duration", remedy)
    try:
        return RenewBefore.parse(text)
    except ValueError:
        return refuse(f"{text!r} is neither a fraction between 0 and 1 nor a duration", remedy)


def list_to_tuple(value: object) -> object:
    """Return a list of the inventory as the tuple that a frozen model holds."""
    return tuple(value) if isinstance(value, list) else value


_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_LONGEST_FILE_NAME = 240
"""Characters: files are named after the FQDN, and 255 with an ending is what file systems take."""
_FQDN = re.compile(rf"{_LABEL}(?:\.{_LABEL})+", re.IGNORECASE)


def check_fqdn(text: str) -> str:
    """Return a full DNS name, in lower case, without a final dot."""
    if is_address(text):
        refuse(
            f"{text} is an address, not a DNS name", "write the name that resolves to it, such as etcd-1.example.home"
        )
    if text.endswith("."):
        refuse(f"{text!r} ends in a dot", f"write {text.rstrip('.')}: the names in certificates have no final dot")
    if "://" in text or "/" in text or ":" in text:
        refuse(f"{text!r} is not a DNS name", "write the name alone: scheme and port come from the cluster's settings")
    if len(text) > 253 or not _FQDN.fullmatch(text) or text.rsplit(".", 1)[-1].isdigit():
        remedy = "write a full DNS name such as etcd-1.example.home: letters, digits and hyphens, parts joined by dots"
        refuse(f"{text!r} is not a full DNS name", remedy)
    if len(text) > _LONGEST_FILE_NAME:
        refuse(f"has {len(text)} characters", f"use a name of at most {_LONGEST_FILE_NAME}: files are named after it")
    return text.lower()


def check_address(value: object) -> object:
    """Return an IP address that etcd can listen on and others can reach."""
    if isinstance(value, list) and len(value) == 1 and is_address(str(value[0])):
        refuse("square brackets make a list of it", f'write it without: "{value[0]}"')
    if not isinstance(value, str):
        return value
    if fault := address_fault(value):
        refuse(*fault)
    remedy = "write the host's own IP address, such as 10.240.1.2; names belong in member.fqdn"
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        listen = 'etcd can only listen on an IP address: it refuses a name with "expected IP in URL for binding"'
        return refuse(f"{value!r} is not an IP address; {listen}", remedy)
    if address.is_unspecified or address.is_loopback or address.is_multicast:
        refuse(f"{value} cannot be reached by the other members", remedy)
    if getattr(address, "scope_id", None):
        refuse(f"{value} has a zone, which no certificate can hold", "use an address without %zone")
    return str(address)


def check_member_name(text: str) -> str:
    """Return a name that etcd's initial-cluster can hold."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}", text):
        bad = "".join(sorted({c for c in text if not re.match(r"[A-Za-z0-9_.-]", c)}))
        why = f"it contains {bad!r}" if bad else "it is empty, too long, or starts with a dot or hyphen"
        refuse(
            f"{text!r} cannot be a member's name: {why} (etcd's initial-cluster is a list name=url,name=url)",
            "use letters, digits, dots, hyphens and underscores, at most 63 of them",
        )
    return text


def check_data_dir(text: str) -> str:
    """Return a folder that may be given to etcd alone."""
    if not re.fullmatch(r"(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+/?", text):
        refuse(
            f"{text!r} is not a plain absolute path",
            "write a path such as /var/lib/etcd, of letters, digits, dots, hyphens and underscores",
        )
    if text.rstrip("/").count("/") < 2:
        refuse(f"{text!r} is a top-level folder of the system", "give etcd a folder of its own, such as /var/lib/etcd")
    return text.rstrip("/")


def check_token(text: str) -> str:
    """Return an initial-cluster token."""
    if not re.fullmatch(r"[A-Za-z0-9_.:-]{1,128}", text):
        refuse("is empty or holds characters other than letters, digits and . _ : -", "use a word such as k8s-home")
    return text


def check_vault_address(text: str) -> str:
    """Return the address of a Vault, without path and credentials."""
    if "@" in text:
        refuse("holds credentials", "write the address alone; the token comes from VAULT_TOKEN or a token file")
    if not re.fullmatch(r"https?://[A-Za-z0-9_.:\[\]-]+/?", text):
        refuse(f"{text!r} is not the address of a Vault", "write scheme, name and port: https://vault.home:8200")
    return text.rstrip("/")


def check_mount(text: str) -> str:
    """Return the path of a secrets engine, without slashes at its ends."""
    text = text.strip("/")
    if not re.fullmatch(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*", text):
        refuse(f"{text!r} is not a mount of Vault", "write the path alone, such as pki_intermediate_ca")
    return text


def check_role_name(text: str) -> str:
    """Return the name of a role, without its path."""
    if not re.fullmatch(r"\w(?:[\w.-]*\w)?", text, re.ASCII):
        refuse(f"{text!r} is not a name of a Vault role", "write the role's name alone, without its path")
    return text


def check_common_name(text: str) -> str:
    """Return the common name of a client certificate, which is a user's name to etcd."""
    if not re.fullmatch(r"[A-Za-z0-9_](?:[A-Za-z0-9_.@-]{0,62}[A-Za-z0-9_])?", text):
        refuse(
            f"{text!r} cannot be the common name of a certificate and the name of a user",
            "use letters, digits and . _ - @, at most 64 of them, such as root or alice@example.org",
        )
    return text


def check_variable(text: str) -> str:
    """Return the name of an environment variable."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text):
        refuse(
            "is not the name of an environment variable (a password itself does not belong in the inventory)",
            "write the name of a variable that holds the password, such as ETCD_PASSWORD_ALICE",
        )
    return text


def check_networks(value: object) -> object:
    """Return a list of networks, as text in CIDR notation."""
    if not isinstance(value, list | tuple):
        return value
    for item in value:
        try:
            ipaddress.ip_network(str(item))
        except ValueError:
            refuse(f"{item!r} is not a network", "write networks such as 192.0.2.0/24, or one address as 192.0.2.5/32")
    return tuple(value)


def check_package_version(text: str) -> str:
    """Return the version of a package, fit for a command line."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+:~_-]*", text):
        refuse(f"{text!r} is not the version of a package", "write it as the package manager shows it, or leave it out")
    return text


def check_release_version(text: str) -> str:
    """Return three numbers, as etcd names its releases."""
    if not re.fullmatch(r"\d+\.\d+\.\d+(-[A-Za-z0-9.]+)?", text):
        refuse(f"{text!r} is not a release of etcd", "write three numbers without a v, such as 3.5.1")
    return text


def check_sha256(text: str) -> str:
    """Return 64 hexadecimal digits, in lower case."""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        refuse(
            "is not a SHA-256: it must be 64 hexadecimal digits",
            "take it from the release's SHA256SUMS, or from sha256sum",
        )
    return text.lower()


def check_url(text: str) -> str:
    """Return an http or https address without credentials."""
    if re.match(r"https?://[^/]*@", text):
        refuse(
            "holds credentials, which would reach command lines and logs", "use an address without user and password"
        )
    if not re.fullmatch(r"https?://[A-Za-z0-9_.:\[\]-]+(/[^\s'\"\\`$]*)?", text):
        refuse(f"{text!r} is not an http or https address", "write it in full: https://example.org/path")
    return text


def check_repository(text: str) -> str:
    """Return an http or https address, or a path on the host."""
    if text.startswith("/"):
        if not re.fullmatch(r"(/[A-Za-z0-9_.@+-]+)+/?", text):
            refuse(f"{text!r} is not a plain path", "write an https address, or the path of a repository on the host")
        return text
    return check_url(text)


def check_cipher_suites(value: object) -> object:
    """Return a list of TLS 1.2's cipher suites by Go's names, in the order of preference."""
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        return list_to_tuple(value)
    names = tuple(ALIASES.get(name, name) for name in value)
    if not names:
        refuse("is empty", f"remove the line for the good ones, or write a list such as [{', '.join(NEEDED)}]")
    for name in names:
        if name in TLS13:
            refuse(
                f"{name} is a suite of TLS 1.3, which has three good ones that cannot be chosen in etcd",
                "leave it out: TLS 1.3 is offered anyway, by versions of etcd that have it",
            )
        if name not in NUMBERS:
            close = difflib.get_close_matches(name.upper().replace("-", "_"), NUMBERS, n=1)
            guess = f" (did you mean {close[0]}?)" if close else ""
            refuse(
                f"{name!r} is none that etcd knows, and it would not start{guess}",
                f"names as Go has them, such as {', '.join(GOOD)}",
            )
        if names.count(name) > 1:
            refuse(f"{name} is named twice", "name it once")
    if not set(names) & set(NEEDED):
        refuse(
            "has none of the suites that HTTP/2 demands, and etcd would not start",
            f"add {' or '.join(NEEDED)}, by the kind of the keys",
        )
    return names


Duration = Annotated[timedelta, BeforeValidator(check_duration), PlainSerializer(go_duration)]
Size = Annotated[int, BeforeValidator(check_size)]
Fqdn = Annotated[str, AfterValidator(check_fqdn)]
Port = Annotated[int, Field(ge=1, le=65535)]
Words = Annotated[tuple[str, ...], BeforeValidator(list_to_tuple)]
CipherSuites = Annotated[tuple[str, ...], BeforeValidator(check_cipher_suites)]
Networks = Annotated[tuple[str, ...], BeforeValidator(check_networks)]
