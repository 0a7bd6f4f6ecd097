"""``python -m lab.images NAME``: build one image, in a process of its own."""

import sys

from etcdfleet.errors import FleetError
from lab.images import build

try:
    build(sys.argv[1])
except FleetError as error:
    print(error, file=sys.stderr)
    sys.exit(1)
