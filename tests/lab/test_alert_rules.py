"""The alert rules of docs/rotation.md as they are printed: Prometheus loads them, and they fire when they should."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from etcdfleet.report.export.metrics import NAMES
from lab import images

DOCUMENT = Path(__file__).parents[2] / "docs" / "rotation.md"
DAY = 86400


@pytest.fixture(scope="module")
def promtool() -> str:
    """Prometheus' own checker: the machine's, else taken out of Debian's package, of which nothing is installed.

    It brings 96 MB and a service that starts; this one program needs libc alone.
    """
    if found := shutil.which("promtool"):
        return found
    kept = images.cache_folder() / "promtool"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            _run(
                [
                    "sh",
                    "-c",
                    "apt-get download -q prometheus || { apt-get update -q && apt-get download -q prometheus; }",
                ],
                folder,
            )
            (package,) = Path(folder).glob("prometheus_*.deb")
            _run(["dpkg-deb", "--extract", str(package), "all"], folder)
            (Path(folder) / "all/usr/bin/promtool").replace(kept)
    return str(kept)


def _run(command: list[str], folder: str | Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def printed() -> str:
    """The file of rules in the document."""
    (rules,) = re.findall(r"^```yaml\n(groups:\n.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    return str(rules)


def test_they_load_as_printed_and_ask_for_metrics_that_exist(promtool: str, tmp_path: Path) -> None:
    (tmp_path / "etcdfleet.rules.yml").write_text(printed())
    said = _run([promtool, "check", "rules", "etcdfleet.rules.yml"], tmp_path)
    rules = [rule for group in yaml.safe_load(printed())["groups"] for rule in group["rules"]]
    assert f"SUCCESS: {len(rules)} rules found" in said
    asked = {name for rule in rules for name in re.findall(r"etcdfleet_\w+", rule["expr"])}
    assert asked
    assert asked <= set(NAMES)
    for rule in rules:
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"]


def test_the_scrape_configuration_is_one(promtool: str, tmp_path: Path) -> None:
    (printed_too,) = re.findall(
        r"^```yaml\n(scrape_configs:\n.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL
    )
    (tmp_path / "prometheus.yml").write_text(printed_too)
    assert "SUCCESS" in _run([promtool, "check", "config", "--syntax-only", "prometheus.yml"], tmp_path)


RUN = '{runbook="rotate_certs"}'
WELL = {f"etcdfleet_run_exit_code{RUN}": "0", f"etcdfleet_run_finished_seconds{RUN}": "0"}
ENDS = 'etcdfleet_certificate_not_after_seconds{host="pi-1",cluster="k8s",role="peer"}'


@pytest.mark.parametrize(
    ("alert", "series", "minutes", "fires"),
    [
        ("EtcdCertificateEnds", {**WELL, ENDS: str(13 * DAY)}, 20, True),
        ("EtcdCertificateEnds", {**WELL, ENDS: str(15 * DAY)}, 20, False),
        ("EtcdRotationFails", {**WELL, f"etcdfleet_run_exit_code{RUN}": "2"}, 20, True),
        ("EtcdRotationFails", WELL, 20, False),
        ("EtcdRotationFails", WELL, 49 * 60, True),  # the last run was two days ago
        ("EtcdRotationIsNotSeen", {}, 90, True),
        ("EtcdRotationIsNotSeen", WELL, 90, False),
    ],
)
def test_they_fire_when_they_should(
    promtool: str, tmp_path: Path, alert: str, series: dict[str, str], minutes: int, fires: bool
) -> None:
    (tmp_path / "etcdfleet.rules.yml").write_text(printed())
    (rule,) = [r for group in yaml.safe_load(printed())["groups"] for r in group["rules"] if r["alert"] == alert]
    labels = (
        {"host": "pi-1", "cluster": "k8s", "role": "peer"}
        if alert == "EtcdCertificateEnds"
        else {"runbook": "rotate_certs"}
    )
    expected = [{"exp_labels": {**labels, **rule["labels"]}, "exp_annotations": _filled(rule["annotations"], labels)}]
    case: dict[str, Any] = {
        "rule_files": ["etcdfleet.rules.yml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": f"{value}x{minutes}"} for name, value in series.items()],
                "alert_rule_test": [
                    {"eval_time": f"{minutes}m", "alertname": alert, "exp_alerts": expected if fires else []}
                ],
            }
        ],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump(case))
    _run([promtool, "test", "rules", "test.yml"], tmp_path)


def _filled(annotations: dict[str, str], labels: dict[str, str]) -> dict[str, str]:
    """Prometheus' templates filled, as far as they name labels."""
    return {
        key: re.sub(r"{{ \$labels\.(\w+) }}", lambda found: labels[found[1]], text) for key, text in annotations.items()
    }
