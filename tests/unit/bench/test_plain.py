"""The benchmark's templates make the product's bytes, for tools that have none of its names, methods and filters."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
import pytest

from etcdfleet.drivers.init import ServiceState, service_for
from etcdfleet.drivers.packages import Installed, packages_for
from etcdfleet.host.paths import HostPaths
from etcdfleet.rendering import TEMPLATES, environment
from etcdfleet.settings.models import HostSettings
from etcdfleet.settings.vault import VaultPki
from tasks.configure import template_variables
from tasks.observe import Observed, Site
from tests.bench import plain
from tests.bench.work import host_work
from tests.unit.host.test_preflight import GOOD
from tests.unit.support.site import LocalHost, settings

TEMPLATE_NAMES = sorted(path.name for path in TEMPLATES.glob("*.j2"))
HOSTS = {
    "as it comes": settings(),
    "OpenRC": settings(2, init="openrc"),
    "clients without TLS": settings(client_tls=False),
    "no TLS at all": settings(client_tls=False, peer_tls=False),
    "one CA": settings(3, pki=VaultPki(trust="single")),
    "revocation lists": settings(pki=VaultPki(crl=True)),
    "gateway": settings(gateway=True),
}


def look(host: HostSettings, architecture: str) -> tuple[Site, Observed]:
    machine = {"arm": "armv7l", "arm64": "aarch64"}.get(architecture, "x86_64")
    facts = replace(GOOD, machine=machine, package_architecture=architecture)
    seen = Observed(facts, ServiceState(True, True), Installed("3.4.23", binary="/usr/bin/etcd"), init_fits=True)
    return Site(host, LocalHost(), service_for(host.init), packages_for(host)), seen


def stock(source: str, variables: dict[str, Any]) -> str:
    """As pyinfra and Ansible render it: without our filters, after a way through JSON."""
    jinja = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  no HTML here
    )
    return jinja.from_string(source).render(json.loads(json.dumps(variables)))


def both(name: str, source: str, variables: dict[str, Any]) -> tuple[str, str]:
    ours = environment().from_string(source).render(variables)
    return ours, stock(plain.reword(name, source), {plain.VALUES: {name: plain.values(name, source, variables)}})


@pytest.mark.parametrize("architecture", ["amd64", "arm"])
@pytest.mark.parametrize("host", HOSTS.values(), ids=list(HOSTS))
@pytest.mark.parametrize("name", TEMPLATE_NAMES)
def test_every_template_comes_out_the_same(name: str, host: HostSettings, architecture: str) -> None:
    site, seen = look(host, architecture)
    # Each template on both init systems: what only one of them has is there for the other, too.
    variables = {**template_variables(site, seen), "service": service_for("openrc").environment()}
    ours, theirs = both(name, (TEMPLATES / name).read_text(), variables)
    assert theirs == ours
    assert len(ours) > 100


@pytest.mark.parametrize("host", HOSTS.values(), ids=list(HOSTS))
def test_the_work_of_a_host_holds_all_that_its_templates_look_up(host: HostSettings, tmp_path: Path) -> None:
    site, seen = look(host, "arm")
    work = host_work(site, seen)
    plain.write_templates(tmp_path)
    assert {Path(file["path"]).name for file in work["files"]} >= {"conf.yml", "etcdctl.sh"}
    assert len(work["files"]) == 2 + len(site.service.files)
    for file in work["files"]:
        name = file["template"]
        ours = environment().get_template(name).render(template_variables(site, seen))
        assert stock((tmp_path / name).read_text(), work["variables"]) == ours
    assert work["trust_anchor"] == HostPaths.of(host).anchor("client")
    json.dumps(work)


SOURCES = {
    "white space": "a\n  {%- if yes -%}  b  {{- word -}}  c{%- endif %}\n d {# gone #}\n{# gone #}\ne\n",
    "branches": "{% if no %}\n{{ nothing.at.all }}\n{% elif yes %}\n  {{ word | upper }}\n{% else %}\n0\n{% endif %}\n",
    "a loop": "{% for one in words %}\n- {{ one | yaml }}{% if one == word %} !{% endif %}\n{% endfor %}\nend\n",
    "a loop in a loop": "{% for a in words %}{% for b in words %}{{ a }}{{ b }} {% endfor %}{% endfor %}{{ word }}\n",
    "an empty list asked": "{% if [] %}full{% else %}empty{% endif %}{{ yes }}{{ 0.1 }}{{ none }}",
    "text that looks like a template": "{{ odd }}{% if odd %}\n{{ odd | yaml }}\n{% endif %}",
    "a choice": '{{ "in" if no else word }} {{ {"a": {"b": 2}}["a"]["b"] }}',
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=list(SOURCES))
def test_whatever_a_template_may_do_comes_out_the_same(source: str) -> None:
    variables = {"yes": True, "no": False, "word": "w", "words": ["v", "w"], "none": None, "odd": "it's {{ odd }} é"}
    ours, theirs = both("x.j2", source, variables)
    assert theirs == ours


def test_a_statement_that_is_not_known_is_named() -> None:
    with pytest.raises(ValueError, match=r"templates/x\.j2:2: 'macro' is not known"):
        plain.reword("x.j2", "a\n{% macro b() %}{% endmacro %}\n")
