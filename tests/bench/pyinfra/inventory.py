"""pyinfra's inventory: the hosts of ``work.json``, in the folder that ``BENCH_FOLDER`` names."""

import json
import os
from pathlib import Path

folder = Path(os.environ["BENCH_FOLDER"])
hosts = [
    (name, found["pyinfra"] | {"work": found["work"]})
    for name, found in json.loads((folder / "work.json").read_text()).items()
]
