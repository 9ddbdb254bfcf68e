"""`make reference`: the reference pages that the code writes itself.

`docs/reference/cli.md` from the commands, `docs/reference/api.md` from the OpenAPI document, the
table of `docs/settings.md` from the settings and the words of `.env.example`. What a person has to
say about them stands in docs/reference.md. tests/test_reference.py tells when they are old.
"""

import sys
from pathlib import Path

from tools.reference_api import api_page
from tools.reference_cli import cli_page
from tools.reference_settings import with_settings_table

ROOT = Path(__file__).resolve().parents[1]


def pages() -> dict[Path, str]:
    """Each page with what should stand in it."""
    settings = ROOT / "docs" / "settings.md"
    return {
        ROOT / "docs" / "reference" / "cli.md": cli_page(),
        ROOT / "docs" / "reference" / "api.md": api_page(),
        settings: with_settings_table(settings.read_text(), (ROOT / ".env.example").read_text()),
    }


def main() -> int:
    for path, text in pages().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
