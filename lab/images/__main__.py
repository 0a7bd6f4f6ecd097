"""``python -m lab.images KIND``: build one image, in a process of its own."""

import sys
from typing import cast

from etcdfleet.errors import FleetError
from lab.images import build
from lab.state import Kind

try:
    build(cast(Kind, sys.argv[1]))
except FleetError as error:
    print(error, file=sys.stderr)
    sys.exit(1)
