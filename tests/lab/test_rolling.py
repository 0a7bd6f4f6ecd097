"""A setting that is changed while two clusters work, one of each init system, and hosts that are rebooted.

The clusters keep the changed setting, so these tests come after the others of their lab.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import (
    all_endpoints,
    deploy,
    etcd_log,
    etcdctl,
    inventory_variant,
    members,
    output,
    start_times,
    unhealthy,
    wait_for,
)
from tests.lab.watch import leader, stored, watching, writing

CLUSTERS = ("t-sd", "t-rc")


def test_a_changed_setting_is_rolled_out_without_losing_a_write(clusters: LabHandle, tmp_path: Path) -> None:
    def edit(files: dict[str, Any]) -> None:
        for cluster in CLUSTERS:
            files["inventory/groups.yaml"][cluster]["data"]["cluster"]["snapshot_count"] = 9000

    changed = inventory_variant(clusters, tmp_path, edit)
    names = {cluster: members(clusters, cluster) for cluster in CLUSTERS}
    leaders = {cluster: leader(clusters, names[cluster]) for cluster in CLUSTERS}
    everybody = [name for cluster in CLUSTERS for name in names[cluster]]
    with (
        watching(clusters, everybody) as watch,
        writing(clusters, "t-sd-1", "t-sd", "roll-sd") as systemd,
        writing(clusters, "t-rc-1", "t-rc", "roll-rc") as openrc,
    ):
        outcome = deploy(clusters, config=changed)
    assert outcome.exit_code == 0, outcome.text
    odd = [name for name, seen in watch.processes.items() if len(seen) != 2]
    logs = "".join(f"\n{name}: {watch.processes[name]}\n{etcd_log(clusters, name)}" for name in odd)
    assert odd == [], f"each member is restarted exactly once{logs}"
    for cluster in CLUSTERS:
        together = [down & set(names[cluster]) for down in watch.down]
        assert max(map(len, together)) <= 1, f"members of {cluster} down at the same time: {together}"
        order = [name for name in watch.order() if name in names[cluster]]
        assert order[-1] == leaders[cluster], f"leader {leaders[cluster]} comes last: {order}"
        assert unhealthy(clusters, cluster) == ""
        for name in names[cluster]:
            assert "snapshot-count: 9000" in output(clusters, name, "cat /etc/etcd/conf.yml")
    for writer, host, prefix in ((systemd, "t-sd-2", "roll-sd"), (openrc, "t-rc-2", "roll-rc")):
        assert len(writer.acknowledged) > 10, "the cluster took writes during the restarts"
        found = stored(clusters, host, prefix)
        lost = [number for number in writer.acknowledged if found.get(number) != str(number)]
        assert lost == [], f"{len(lost)} of {len(writer.acknowledged)} acknowledged writes are gone"
    again = deploy(clusters, config=changed)
    assert again.exit_code == 0, again.text
    assert again.changed == dict.fromkeys(again.changed, 0), again.text


def whole(handle: LabHandle, cluster: str) -> bool:
    return unhealthy(handle, cluster) == ""


def test_members_come_back_by_themselves_after_a_reboot(clusters: LabHandle) -> None:
    rebooted = ["t-sd-2", "t-rc-2"]
    before = start_times(clusters)
    for name in rebooted:
        assert etcdctl(clusters, name, f"put reboot/{name} yes").returncode == 0
        clusters.stop(name)
    for name in rebooted:
        clusters.start(name)
    for cluster, name in zip(CLUSTERS, rebooted, strict=True):
        wait_for(f"{cluster} is whole again", partial(whole, clusters, cluster), timeout=90)
        endpoints = all_endpoints(clusters, cluster)
        assert "yes" in etcdctl(clusters, name, f"get reboot/{name}", endpoints=endpoints).stdout
    after = start_times(clusters)
    assert {name for name in after if after[name] != before[name]} == set(rebooted)
