"""Texts of the inventory that cannot be meant as they are: templates, blanks at the ends, invisible characters."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from etcdfleet.settings.merge import KeyPath
from etcdfleet.settings.yamlfile import TEMPLATE, TEMPLATE_REMEDY, holds_template

Fault = tuple[str, str]
"""What is wrong, and the remedy."""
_FREE = (("auth", "roles"),)
"""Where any text may be meant: keys of etcd."""


def text_fault(text: str) -> Fault | None:
    """Return why ``text`` cannot be a name, an address or a word, without repeating it: it may be a secret."""
    if holds_template(text):
        return TEMPLATE, TEMPLATE_REMEDY
    if text != text.strip():
        return "has a blank at its beginning or end", "remove it"
    for character in text:
        if character != " " and unicodedata.category(character) in ("Cc", "Cf", "Zs", "Zl", "Zp"):
            name = unicodedata.name(character, "a control character").lower()
            return f"has the invisible character U+{ord(character):04X} ({name})", "write the value anew by hand"
    return None


def faults_in(section: str, given: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str, str]]:
    """Yield key path, what and remedy for each text of a section that cannot be meant as it is."""
    yield from _faults((section,), given)


def _faults(path: KeyPath, value: Any) -> Iterator[tuple[KeyPath, str, str]]:
    if path in _FREE:
        return
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _faults((*path, str(key)), each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _faults(path, each)
    elif isinstance(value, str) and (fault := text_fault(value)):
        yield path, *fault


def attribute_faults(key: str, value: Any) -> Iterator[Fault]:
    """Yield what is wrong with one of Nornir's own keys of a host, a group or the defaults."""
    if value is None:
        return
    if key == "port":
        if isinstance(value, bool) or not isinstance(value, int):
            shown = "" if isinstance(value, list | Mapping) else f", not {value!r}"
            yield f"must be a whole number{shown}", "write digits alone, without quotes, such as 22"
        elif not 1 <= value <= 65535:
            yield f"{value} is no port", "write a number from 1 to 65535, such as 22"
    elif isinstance(value, list | tuple) and key == "hostname" and len(value) == 1:
        yield "square brackets make a list of it", f'write it without: "{value[0]}"'
    elif not isinstance(value, str):
        # Not repeated: it may be a password of digits.
        yield "must be text", "put the value in quotes"
    elif key == "password":
        if holds_template(value):
            yield TEMPLATE, TEMPLATE_REMEDY
    elif (fault := text_fault(value)) or (key == "hostname" and (fault := hostname_fault(value))):
        yield fault


def option_faults(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, str, str]]:
    """Yield key path, what and remedy for what is wrong below ``connection_options``."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            here = (*path, str(key))
            if len(here) == 2 and key in ("hostname", "port", "username", "password", "platform"):
                yield from ((here, *fault) for fault in attribute_faults(key, each))
            else:
                yield from option_faults(each, here)
    elif isinstance(value, str):
        secret = path[-1] in ("password", "secret", "passphrase")
        fault = text_fault(value)
        if fault and (not secret or holds_template(value)):
            yield path, *fault


def hostname_fault(text: str) -> Fault | None:
    """Return why SSH cannot go to ``text``: a name, an address, or an alias of ``~/.ssh/config``."""
    remedy = "write a name or an address alone"
    if not text:
        return "is empty", f"{remedy}, or remove the line to have the host's name"
    if fault := address_fault(text):
        return fault
    user, at, host = text.rpartition("@")
    if at:
        return "has a user in it", f"write hostname: {host} and username: {user}"
    host, colon, port = text.partition(":")
    if colon and port.isdigit():
        return "has a port in it", f"write hostname: {host} and port: {port}"
    if re.search(r"[\s/,;]", text):
        return f"{text!r} is neither a name nor an address", remedy
    return None


def address_fault(text: str) -> Fault | None:
    """Return what is wrong with a text that is meant as an IP address, as far as can be told; None for names too."""
    inner = text.strip("[]")
    if inner != text and is_address(inner):
        return f"{text!r} has square brackets, which belong in URLs", f'write it without: "{inner}"'
    if re.fullmatch(r"\d+(\.\d+){3}", text) and not is_address(text):
        parts = [str(int(part)) for part in text.split(".")]
        plain = ".".join(parts)
        if is_address(plain):
            what = f"{text!r} has leading zeros, which some programs read as octal numbers"
            return what, f"write it without: {plain}, if these are decimal numbers"
        return f"{text!r} is not an IP address: a number in it is above 255", "correct it"
    if re.fullmatch(r"[0-9.]+/\d+", text) or (":" in text and is_address(text.rpartition("/")[0])):
        return f"{text!r} is a network", f"write the address alone: {text.rpartition('/')[0]}"
    host, colon, port = text.rpartition(":")
    if colon and port.isdigit() and is_address(host.strip("[]")) and not is_address(text):
        return f"{text!r} has a port in it", f"write the address alone: {host.strip('[]')}"
    return None


def is_address(text: str) -> bool:
    """Return whether ``text`` is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
