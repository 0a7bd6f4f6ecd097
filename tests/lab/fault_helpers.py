"""Reads what a person sees when a run fails, and whether a host was left as it was."""

from __future__ import annotations

import re
from dataclasses import dataclass

from etcdfleet.alike import HOST
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import Outcome, output

# Everything that a deploy could leave behind, with contents. Times of folders are left out: the preflight may make and
# remove a file next to the data, to measure how long a synced write takes.
_TRACES = r"""
for p in /etc/etcd /etc/systemd /etc/init.d /etc/conf.d /etc/runlevels /etc/profile.d /var/lib/etcd \
  /usr/sbin/policy-rc.d /etc/apk/repositories \
  /etc/passwd /etc/group /usr/bin/etcd /usr/bin/etcdctl /usr/local/bin/etcd; do
  [ -e $p ] || { echo "$p: not there"; continue; }
  find $p -exec stat -c '%N %F %a %U:%G' {} +
  find $p -type f -exec stat -c '%n %Y' {} + -exec sha256sum {} +
done | sort
apk info -v 2>/dev/null | sort
dpkg-query -W 2>/dev/null
ls -d /run/etcdfleet* /tmp/etcdfleet* 2>/dev/null
pgrep -x etcd || true
"""


@dataclass(frozen=True)
class Block:
    """A failure as it stands at the end of a run: ``title`` is FAILED or STOPPED to protect."""

    title: str
    subject: str
    step: str
    what: str
    where: str
    remedy: str


def blocks(outcome: Outcome) -> list[Block]:
    """The failures in the text that the person saw, lines joined again."""
    found = []
    pattern = r"^(FAILED|STOPPED to protect)  (\S+(?:, \S+)*)(?:  (\S+))?\n((?:  .*\n?)+)"
    for match in re.finditer(pattern, outcome.stdout, re.MULTILINE):
        parts = {"what": "", "where": "", "remedy": ""}
        label = ""
        for line in match[4].splitlines():
            label = line[:9].strip() or label
            parts[label] = f"{parts[label]} {line[10:].strip()}".strip()
        found.append(Block(match[1], match[2], match[3] or "", **parts))
    return found


def failure(outcome: Outcome, host: str, step: str, *, code: int = 1, within: float = 30.0) -> Block:
    """The one block about a host's failed step, after checking everything that holds for each failure of a host.

    The run ended with exit code ``code`` within ``within`` seconds, no Python traceback reached the person, the block
    says what, where and what to do, and the report says the same.
    """
    assert outcome.exit_code == code, outcome.text
    assert outcome.seconds < within, outcome.text
    assert "Traceback" not in outcome.stdout + outcome.stderr, outcome.text
    mine = [
        block
        for block in blocks(outcome)
        if (block.title, block.step) == ("FAILED", step) and host in block.subject.split(", ")
    ]
    assert len(mine) == 1, outcome.text
    block = mine[0]
    assert block.what, outcome.text
    assert block.remedy, outcome.text
    assert block.where or ", " in block.subject, outcome.text
    error = outcome.step(host, step)["error"]
    for said, shown in ((error["what"], block.what), (error["remedy"], block.remedy)):
        # Said of several hosts, HOST stands for the name or address of each.
        own = re.escape(" ".join(shown.split())).replace(HOST, r"[\w.-]+")
        assert re.fullmatch(own, " ".join(said.split())), (said, shown)
    return block


def protection(outcome: Outcome, cluster: str) -> Block:
    """The block of a cluster that the run stopped to protect; the run has exit code 3."""
    assert outcome.exit_code == 3, outcome.text
    assert "Traceback" not in outcome.stdout + outcome.stderr, outcome.text
    mine = [block for block in blocks(outcome) if (block.title, block.subject) == ("STOPPED to protect", cluster)]
    assert len(mine) == 1, outcome.text
    assert all((mine[0].what, mine[0].remedy)), outcome.text
    return mine[0]


def traces(handle: LabHandle, host: str) -> list[str]:
    """Listing and digests of everything on a host that a deploy could change; equal when nothing was changed."""
    return output(handle, host, _TRACES).splitlines()


def events_of(events: list[dict[str, object]], event: str, step: str) -> list[str]:
    """Hosts for which this event of a step has been seen, in order."""
    return [str(entry["host"]) for entry in events if entry["event"] == event and entry.get("step") == step]
