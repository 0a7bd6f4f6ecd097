from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from etcdfleet.errors import RemoteError, UsageError
from etcdfleet.report.export.metrics import metrics, write_metrics, write_refusal
from etcdfleet.report.record.model import RunRecord
from tests.unit.support.fake_run import nornir_of, raises, recorder_of, step
from tests.unit.support.paths import ROOT

END = datetime(2027, 6, 1, 12, tzinfo=UTC)
FACTS = {"certificates": {"peer": {"serial": "1", "not_after": END.isoformat(), "days_left": 1}}}


def recorded() -> RunRecord:
    recorder = recorder_of()
    nornir = nornir_of().with_processors([recorder])
    lost = RemoteError("cannot be reached", where="edge-1", remedy="look")
    nornir.run(step({"az-1": step(changes=("a",), facts=FACTS), "edge-1": raises(lost)}), name="install")
    return recorder.finish()


def test_every_line_is_one_that_the_collector_reads() -> None:
    text = metrics(recorded())
    assert text.endswith("\n")
    sample = re.compile(r'[a-z_]+\{([a-z]+="[^"\n]*",?)*\} \d+')
    for line in text.splitlines():
        assert line.startswith(("# HELP ", "# TYPE ")) or sample.fullmatch(line), line
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert names == {line.split("{")[0] for line in text.splitlines() if not line.startswith("#")}


def test_ends_results_and_time() -> None:
    lines = metrics(recorded()).splitlines()
    end = 'etcdfleet_certificate_not_after_seconds{host="az-1",cluster="home",role="peer"} '
    assert f"{end}{int(END.timestamp())}" in lines
    assert 'etcdfleet_run_exit_code{runbook="deploy"} 1' in lines
    assert 'etcdfleet_run_changed_hosts{runbook="deploy"} 1' in lines
    assert 'etcdfleet_host_failed{runbook="deploy",host="edge-1",cluster="edge"} 1' in lines
    assert 'etcdfleet_host_failed{runbook="deploy",host="az-2",cluster="home"} 0' in lines


def test_the_file_is_replaced_whole_and_readable_for_the_collector(tmp_path: Path) -> None:
    path = tmp_path / "etcdfleet.prom"
    path.write_text("old")
    write_metrics(path, recorded())
    assert path.read_text().startswith("# HELP etcdfleet_certificate_not_after_seconds")
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_that_cannot_begin_leaves_its_code_and_what_is_known_of_hosts(tmp_path: Path) -> None:
    path = tmp_path / "etcdfleet.prom"
    write_metrics(path, recorded())
    write_refusal(path, "deploy", 2)
    lines = path.read_text().splitlines()
    assert 'etcdfleet_run_exit_code{runbook="deploy"} 2' in lines
    assert 'etcdfleet_run_changed_hosts{runbook="deploy"} 0' in lines
    kept = ("etcdfleet_certificate_not_after_seconds", "etcdfleet_host_failed")
    assert {line for line in lines if line.startswith(kept)} == {
        line for line in metrics(recorded()).splitlines() if line.startswith(kept)
    }
    (tmp_path / "new.prom").unlink(missing_ok=True)
    write_refusal(tmp_path / "new.prom", "deploy", 2)
    assert 'etcdfleet_run_exit_code{runbook="deploy"} 2' in (tmp_path / "new.prom").read_text()


def test_a_mistake_in_the_inventory_reaches_the_metrics(tmp_path: Path) -> None:
    """As the timer runs it: the settings are wrong, so nothing is run, and monitoring must hear of it."""
    path = tmp_path / "etcdfleet.prom"
    ran = subprocess.run(
        [sys.executable, "runbooks/rotate_certs.py", "--config", str(tmp_path / "no.yaml"), "--textfile", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 2, ran.stderr
    assert 'etcdfleet_run_exit_code{runbook="rotate_certs"} 2' in path.read_text()


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written") as caught:
        write_metrics(tmp_path / "nowhere" / "etcdfleet.prom", recorded())
    assert "nowhere" in caught.value.where


def test_backups_by_cluster() -> None:
    facts = {"good": 3, "damaged": 1, "taken": END.isoformat(), "size_bytes": 4096, "drilled": END.isoformat()}
    recorder = recorder_of()
    nornir = nornir_of().with_processors([recorder])
    nothing = step(facts={"backup": {"good": 0, "damaged": 0}})
    nornir.run(step({"az-1": step(facts={"backup": facts}), "edge-1": nothing}), name="install")
    lines = metrics(recorder.finish()).splitlines()
    assert [line for line in lines if line.startswith("etcdfleet_backup")] == [
        f'etcdfleet_backup_last_good_seconds{{cluster="home"}} {int(END.timestamp())}',
        f'etcdfleet_backup_last_drill_seconds{{cluster="home"}} {int(END.timestamp())}',
        'etcdfleet_backup_size_bytes{cluster="home"} 4096',
        'etcdfleet_backup_copies{cluster="home",state="good"} 3',
        'etcdfleet_backup_copies{cluster="home",state="damaged"} 1',
        'etcdfleet_backup_copies{cluster="edge",state="good"} 0',
        'etcdfleet_backup_copies{cluster="edge",state="damaged"} 0',
    ]
