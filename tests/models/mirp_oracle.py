"""Prints what mirp measures of an image and its mask, as JSON; a process of its own, told by stdin.

ITK, which mirp reads with, brings Python down when the interpreter ends, and takes the test run's
exit status with it.
"""

from __future__ import annotations

import json
import os
import sys

from mirp import extract_features

(table,) = extract_features(**json.load(sys.stdin))
print(json.dumps(table.iloc[0].to_dict(), default=float), flush=True)
os._exit(0)
