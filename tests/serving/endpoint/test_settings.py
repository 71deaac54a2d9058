from pathlib import Path

from opencharacter.serving.endpoint.settings import described

PAGE = Path(__file__).parents[3] / "docs" / "endpoint-limits.md"


def test_the_page_has_every_setting_with_its_default() -> None:
    section = PAGE.read_text("utf-8").split("<!-- Settings -->")[1]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    assert rows == [f"| `{argument}` | {default} | {meaning} |" for argument, default, meaning in described()]
