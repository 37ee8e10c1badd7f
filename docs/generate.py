"""Draw the pages that are made from the code: `make docs`.

- docs/reference/settings.md, from the settings of both daemons;
- the diagrams in docs/explanation/session.md, from the tables of the state machines;
- the table of faults in docs/testkit/suite.md, from the suite's catalogue;
- docs/decisions/README.md, from the decisions' titles.

`tests/repo/test_docs.py` fails when a page is not what this would write.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cloudcore.config import CloudSettings  # noqa: E402 - the repository is on the path only now
from cloudcore.dns.command import PREFIX as DNS_PREFIX  # noqa: E402
from cloudcore.dns.settings import DnsSettings  # noqa: E402
from edgecore.config.agent import EdgeSettings  # noqa: E402
from skerry.settings import PREFIX, described  # noqa: E402
from skerry.sync import cloud, edge  # noqa: E402
from skerry.sync.tables import mermaid  # noqa: E402
from skerry.testkit.suite.catalogue import DISCONNECT  # noqa: E402

SETTINGS_HEAD = """# Settings

Each is a flag, a variable and a name in the YAML file given with `--config`; the flag wins, then the variable, then
the file, then the default. Made by `make docs` from the code.
"""
DECISIONS_HEAD = """# Decisions

What would puzzle a newcomer, and why it is so. Made by `make docs` from the pages' titles.

"""


def settings_page() -> str:
    parts = [SETTINGS_HEAD]
    programs = (
        ("cloudcore", CloudSettings, PREFIX),
        ("cloudcore dns", DnsSettings, DNS_PREFIX),
        ("edgecore run", EdgeSettings, PREFIX),
    )
    for program, settings, prefix in programs:
        parts.append(f"\n## {program}\n\n| Flag | Variable | Default | |\n|---|---|---|---|\n")
        parts += [
            f"| `--{each.name.replace('_', '-')}` | `{each.variable}` | {each.default} | {each.help} |\n"
            for each in described(settings, prefix)
        ]
    return "".join(parts)


def decisions_page() -> str:
    lines: list[str] = []
    for page in sorted((ROOT / "docs/decisions").glob("[0-9]*.md")):
        title = re.sub(r"^\d{4}\W*", "", page.read_text().splitlines()[0].lstrip("# "))
        lines.append(f"- [{page.name[:4]} {title}]({page.name})\n")
    return DECISIONS_HEAD + "".join(lines)


def session_page() -> str:
    text = (ROOT / "docs/explanation/session.md").read_text()
    for name, diagram in (("edge", mermaid(edge.TABLE)), ("cloud", mermaid(cloud.TABLE))):
        block = re.compile(rf"(<!-- {name} -->\n```mermaid\n)(.*?)(```)", re.DOTALL)
        text = block.sub(lambda found, diagram=diagram: found[1] + diagram + found[3], text)
    return text


def suite_page() -> str:
    text = (ROOT / "docs/testkit/suite.md").read_text()
    rows = "".join(f"| `{fault.name}` | {fault.title} |\n" for fault in DISCONNECT)
    table = f"| Fault | What is promised |\n|---|---|\n{rows}"
    return re.sub(
        r"<!-- faults -->\n.*?\n(?=A fault that)", lambda _: f"<!-- faults -->\n\n{table}\n", text, flags=re.DOTALL
    )


def pages() -> dict[Path, str]:
    """Every generated page, as it should be."""
    return {
        ROOT / "docs/reference/settings.md": settings_page(),
        ROOT / "docs/decisions/README.md": decisions_page(),
        ROOT / "docs/explanation/session.md": session_page(),
        ROOT / "docs/testkit/suite.md": suite_page(),
    }


def main() -> None:
    for path, text in pages().items():
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


if __name__ == "__main__":
    main()
