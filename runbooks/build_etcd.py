#!/usr/bin/env python3
# PYTHON_ARGCOMPLETE_OK
"""Release archives of etcd for machines that etcd publishes none for, 32-bit ARM above all."""

from __future__ import annotations

import sys

import _start  # type: ignore[import-not-found] # noqa: F401  sets the import path, finds the project's own Python

from plays.build_etcd import main

DESCRIPTION = """\
Compiles etcd, etcdctl and etcdutl from etcd's own Go modules, packs them as etcd does, and prints the lines for the
inventory (install.method: archive). The same Go makes the same bytes each time. Needs Go and a Go module proxy, and
no inventory; touches no host. What is there already stays, so a run that was cut short is completed by the same
command."""

EXAMPLES = """\
  python runbooks/build_etcd.py 3.6.14 --check                    which Go would build what
  python runbooks/build_etcd.py 3.6.14                            for every Raspberry Pi, 32 bits
  python runbooks/build_etcd.py 3.6.14 --arch arm,arm64,amd64     for a mixed cluster
  python runbooks/build_etcd.py 3.6.14 --again                    build it a second time, and compare the bytes"""


if __name__ == "__main__":
    sys.exit(main(DESCRIPTION, EXAMPLES))
