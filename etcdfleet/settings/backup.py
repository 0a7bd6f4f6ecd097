"""The section ``backup``: where a cluster's backups are kept, and how many."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field

from etcdfleet.settings.base import Section
from etcdfleet.settings.values import Duration, list_to_tuple, refuse

if TYPE_CHECKING:
    from etcdfleet.settings.notes import Notes
    from etcdfleet.settings.partial import Draft

_Count = Annotated[int, Field(ge=0, le=10_000)]


def check_store_url(text: str) -> str:
    """Return the address of a store without credentials, and without a slash at its end."""
    if "@" in text or "?" in text:
        refuse("holds credentials or parameters", "write the address alone; keys come from the environment")
    if not re.fullmatch(r"(s3|gs|az)://[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9._-]+)*/?|file:///[^\s]+", text):
        refuse(
            f"{text!r} is not the address of a store",
            "write s3://BUCKET/FOLDER, gs://BUCKET/FOLDER, az://CONTAINER/FOLDER, or file:///FOLDER of a mounted disk",
        )
    return text.rstrip("/")


def check_recipients(value: object) -> object:
    """Return a list of age's public keys."""
    if not isinstance(value, list | tuple):
        return list_to_tuple(value)
    for one in value:
        if str(one).upper().startswith("AGE-SECRET-KEY-"):
            refuse("holds a secret key of age", "write the public key, which begins with age1; age-keygen -y prints it")
        if not re.fullmatch(r"age1[02-9ac-hj-np-z]{58}", str(one)):
            refuse(f"{one!r} is not a public key of age", "write keys as age-keygen prints them: age1, and 58 more")
    return tuple(value)


class BackupSettings(Section):
    """Of a whole cluster. ``folder`` is on the controller; None is the project's own ``snapshots``."""

    folder: Annotated[str, Field(min_length=1)] | None = None
    daily: _Count = 7
    weekly: _Count = 4
    monthly: _Count = 6
    max_age: Duration | None = None
    url: Annotated[str, AfterValidator(check_store_url)] | None = None
    recipients: Annotated[tuple[str, ...], BeforeValidator(check_recipients)] = ()

    def resolved(self, resolve: Callable[[str], Path]) -> Self:
        """Return the same with the path of the folder made absolute."""
        return self if self.folder is None else self.model_copy(update={"folder": str(resolve(self.folder))})

    def check(self, draft: Draft, notes: Notes) -> None:
        """Warn of what would leave this machine in clear, and of keys that have no use."""
        if not draft.sound("backup"):
            return
        if self.url and not self.recipients:
            what = "backups leave this machine in clear: every key and value of the cluster can be read in that store"
            notes.warning(draft, "backup.url", what, "add backup.recipients, the public keys of age to encrypt to")
        if self.recipients and not self.url:
            what = "nothing is encrypted: what stays on this machine is in clear, and there is no backup.url"
            notes.warning(draft, "backup.recipients", what, "add backup.url, or remove the line")
