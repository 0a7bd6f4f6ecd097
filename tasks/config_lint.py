"""What etcd on a host makes of its rendered configuration (`etcdfleet.etcd.config_lint`), before that is placed."""

from __future__ import annotations

from collections.abc import Iterable

from etcdfleet.errors import VerificationError
from etcdfleet.etcd.config_finding import ConfigFinding
from etcdfleet.etcd.config_lint import lint
from etcdfleet.etcd.versions import parse
from etcdfleet.host.paths import CONFIG
from etcdfleet.host.preflight import Trouble
from etcdfleet.remote import RemoteFile
from tasks.observe import Site

TEMPLATE = "templates/conf.yml.j2"


def config_findings(files: Iterable[RemoteFile], version: str | None) -> tuple[ConfigFinding, ...]:
    """Return what etcd of that version (None: not known yet) makes of the configuration among the files."""
    texts = [file.content.decode() for file in files if file.path == CONFIG]
    return tuple(finding for text in texts for finding in lint(text, parse(version)))


def config_troubles(findings: Iterable[ConfigFinding]) -> list[Trouble]:
    """Return what stops a run: etcd would not start."""
    return [Trouble(f"{TEMPLATE}: {one.what}", one.remedy) for one in findings if one.stops]


def config_warnings(site: Site, findings: Iterable[ConfigFinding]) -> list[str]:
    """Return what etcd would ignore, in words; each is told once in a run."""
    texts = [f"{TEMPLATE}: {one.what}; {one.remedy}" for one in findings if not one.stops]
    fresh = [text for text in dict.fromkeys(texts) if text not in site.told]
    site.told.update(fresh)
    return fresh


def check_config(site: Site, files: Iterable[RemoteFile], version: str | None) -> list[str]:
    """Return what etcd of that version would ignore of the configuration, in words.

    Raises `VerificationError` where it would not start with it.
    """
    findings = config_findings(files, version)
    if troubles := config_troubles(findings):
        raise VerificationError(
            "; ".join(trouble.what for trouble in troubles),
            where=site.settings.name,
            remedy="; ".join(trouble.remedy for trouble in troubles),
        )
    return config_warnings(site, findings)
