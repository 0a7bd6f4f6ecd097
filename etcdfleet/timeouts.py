"""How long things may take, in seconds: one name for one thing, and why so long.

Not here: what a user may set, and what belongs to one protocol (Vault's transport, a host's lock).
"""

from __future__ import annotations

ETCDCTL = 5.0
"""One call of etcdctl. On a Pi it takes most of a second; a member that does not answer costs all of it."""
ETCDCTL_QUICK = 3
"""One call of etcdctl that is made again soon, or that may be refused: it never gives up by itself, and without a
quorum a read waits for all of it."""
ETCDCTL_PATIENT = 20
"""One call of etcdctl whose early end would be a failure: on a Pi it takes a second, a password's hash another, an
election some more."""
MOVE_LEADER = 10
"""Handing the leadership over, which takes an election of its own."""

READY = 180
"""For a started member to be part of a healthy quorum. A Pi with a slow card replays its log for a while."""
STABLE = 60
"""How long a restarted member may take to catch up with the others, and the cluster to agree on a leader."""
LISTED = 60
"""How long all members of a new cluster may take to publish their names."""
SETTLE = 20
"""An election, or a member that is a moment behind, gets this long before it counts as a failure."""
PROOF = 30
"""How long a new certificate may take to prove itself: an election on the way, a slow host."""
HEALED = 60
"""How long a cluster whose certificates had expired may take to become healthy by itself. One second was measured."""

MEMBERSHIP = 30
"""A change of the member list is sent again for so long where etcd refuses it because of what will pass: it wants all
members to have been connected for five seconds."""
CATCH_UP = 120
"""How long a learner may take without coming nearer to its leader."""
RESTORE = 120
"""Restoring a snapshot, beside the time for its size: etcd writes and syncs all of it."""
STOP = 90
"""How long a service manager may take to stop etcd."""

STATUS_HOST = 15.0
"""How long a host may take for everything that status.py asks it."""
STATUS_LOGIN = 4.0
"""How long a host may take to let status.py in, for each part of that: dead ones are to show quickly."""
ISSUING_CA = 1.5
"""So long after the first question which CA issues, an answer of Vault that is still missing counts as none."""

KNOCK = 15
"""One attempt of openssl to have a port answer: an emulated 32-bit host on a busy machine needed more than ten."""
PORT = 1.0
"""One attempt to open a port of a host that SSH does not reach."""
REACH = 4
"""One attempt of a host to reach a port of another: a lost first packet is sent again after one and after three
seconds."""
LISTEN = 60
"""After this time a port that was opened to be reached is closed again, should the connection be lost."""
SYNC_WRITES = 5
"""The writes that measure a disk end after this time, however few they were."""
READ_LOG = 300
"""How long all of a raft log may take to be read and sent here, compressed: some hundred MiB of a card."""
