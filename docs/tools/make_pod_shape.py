"""Write `edgecore/pods/static/pod_shape.json` from Kubernetes' definitions: `python docs/tools/make_pod_shape.py`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from tests.cloudcore.registry.pod_shape import SHAPE, shape_text

SHAPE.write_text(shape_text())
