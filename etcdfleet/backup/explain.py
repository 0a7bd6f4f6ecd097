"""Why a store failed, in one line, and what helps: from the words of ``obstore``, which hide the cause.

Its exceptions have one class for everything and a text of three parts: what was asked and how it ended, what the store
answered (XML or JSON), and a dump of the error's sources, where the cause of a failed connection is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class _Variables:
    """Of the environment, by the scheme of a store's URL."""

    keys: str
    endpoint: str
    in_clear: str


_OF: Mapping[str, _Variables] = {
    "s3": _Variables("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_ALLOW_HTTP"),
    "gs": _Variables("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_BASE_URL", "GOOGLE_ALLOW_HTTP"),
    "az": _Variables(
        "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ENDPOINT", "AZURE_ALLOW_HTTP"
    ),
}
_METADATA = "//169.254.169.254/"
"""Where a machine in a cloud asks for keys of its own; obstore does when the environment has none."""

_NO_OBJECT = ("NoSuchKey", "BlobNotFound")


def in_clear(scheme: str) -> str:
    """Return the variable that allows a store without TLS; empty for a store that is a folder."""
    return _OF[scheme].in_clear if scheme in _OF else ""


def explain(text: str, scheme: str) -> tuple[str, str]:
    """Return why a store of this scheme failed, and what to do, from the text of obstore's exception."""
    of = _OF.get(scheme)
    first = next((line.strip() for line in text.splitlines() if line.strip()), "it did not say why")
    if of is None:
        return first, "look at that folder: is the disk mounted, and may this user write there?"
    if "MissingAccount" in text or _METADATA in first:
        return "the environment has no keys for it", f"set {of.keys}, as docs/backup.md says"
    told = text.partition("\n\nDebug source:")[0]
    if answer := re.search(r"non-2xx status code: (\d+)([^:\n]*):?\s*(.*)", told, re.DOTALL):
        return _answered(int(answer[1]), answer[2].strip(), answer[3], of)
    if re.search("service account|Access Key|[Cc]redential", first):
        return first, f"correct {of.keys}, as docs/backup.md says"
    return _not_reached(text, first, of)


def _answered(status: int, reason: str, body: str, of: _Variables) -> tuple[str, str]:
    code = re.search(r"<Code>([^<]*)</Code>", body)
    message = re.search(r'<Message>([^<]*)</Message>|"message": ?"([^"]*)"', body)
    plain = body.strip().splitlines()[:1] if not body.lstrip().startswith(("<", "{")) else []
    said = [code[1] if code else "", *(message.groups() if message else ()), *plain]
    # What Azure says of a refused request goes on over lines with a request's number and time.
    words = ": ".join(one.strip().splitlines()[0] for one in said if one and one.strip())
    why = f"it answers {status} {reason}{f' ({words})' if words else ''}"
    if status in (401, 403):
        return why, f"set {of.keys} of an account that may list, read, write and delete there"
    if code and code[1] in _NO_OBJECT:
        return why, "it was there a moment ago: run this again, and look who else removes what lies there"
    if status == 404:
        return why, "make the bucket or container, or correct backup.url"
    return why, f"look at the store, and at {of.endpoint} if it is set"


def _not_reached(text: str, first: str, of: _Variables) -> tuple[str, str]:
    address = re.search(r'connect error",\s*([^\s,]+),', text)
    reached = f"look at {of.endpoint}, and at HTTPS_PROXY and NO_PROXY where there is a proxy"
    if refused := re.search(r"InvalidCertificate\(\s*(\w+)", text):
        if refused[1] == "UnknownIssuer":
            trusted = "add its CA to those that this machine trusts, or name the file of that CA in SSL_CERT_FILE"
            return "its certificate is of a CA that this machine does not trust", trusted
        return f"its certificate is refused: {refused[1]}", reached
    if "BadScheme" in text:
        return "it is without TLS", f"use https, or set {of.in_clear}=true"
    if "dns error" in text:
        return "its name has no address", reached
    if "ConnectionRefused" in text:
        return f"{address[1] if address else 'it'} refuses connections", f"start it; {reached}"
    if "TimedOut" in text:
        return "it does not answer in time", reached
    return first, f"look at the store; {reached}"
