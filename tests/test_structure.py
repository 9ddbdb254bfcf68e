"""The shape of the tree that would otherwise be forgotten."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_migrations_folder_never_shadows_the_library() -> None:
    assert not (ROOT / "alembic" / "__init__.py").exists()
