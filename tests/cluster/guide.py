"""Prints the commands of a section of docs/install.md, for a shell: what people are told is what CI runs.

python tests/cluster/guide.py "1. Platform" --without nvidia | bash -eux
"""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

GUIDE = Path(__file__).parents[2] / "docs" / "install.md"


def commands(section: str, without: list[str]) -> Iterator[str]:
    """The lines of the section's shell blocks, but for blocks that hold one of the words."""
    parts = re.split(r"^## ", GUIDE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = [part for part in parts if part.startswith(f"{section}\n")]
    if not found:
        sys.exit(f"{GUIDE}: no section '{section}'")
    for block in re.findall(r"^```sh\n(.*?)^```", found[0], re.MULTILINE | re.DOTALL):
        if not any(word in block.lower() for word in without):
            yield block.rstrip()


def main() -> None:
    """Print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("section", help="its heading, such as '1. Platform'")
    parser.add_argument("--without", action="append", default=[], help="leave out blocks that hold this word")
    options = parser.parse_args()
    print("\n".join(commands(options.section, [word.lower() for word in options.without])))


if __name__ == "__main__":
    main()
