"""Write `docs/reference/kinds.md` from the table of kinds: `python docs/tools/make_kinds_page.py` in the root."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from tests.cloudcore.registry.kinds_page import PAGE, page

PAGE.write_text(page())
