from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs_links import anchors, broken_links, documents


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.name)
def test_our_documents_lead_somewhere(document: Path) -> None:
    assert list(broken_links(document)) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[a](missing.md)", "leads to no file"),
        ("![a](missing.png)", "leads to no file"),
        ("[a](other.md#nothing)", "leads to no heading"),
        ("[a](#nothing)", "leads to no heading"),
    ],
)
def test_a_broken_link_is_found(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "other.md").write_text("# A heading\n")
    document = tmp_path / "document.md"
    document.write_text(text)
    (found,) = broken_links(document)
    assert fault in found


def test_good_and_foreign_links_and_code_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "other file.md").write_text("# A `heading`, and more\n\n## Twice\n\n## Twice\n")
    document = tmp_path / "document.md"
    document.write_text(
        "# Here\n[a](other%20file.md#a-heading-and-more) [b](#here) [c](https://example.org/x)\n"
        "[d](other%20file.md#twice-1)\n"
        "`[e](missing.md)`\n\n```\n[f](missing.md)\n```\n"
    )
    assert list(broken_links(document)) == []
    assert anchors(tmp_path / "other file.md") == {"a-heading-and-more", "twice", "twice-1"}


def test_every_page_is_in_the_index() -> None:
    root = Path(__file__).parent.parent / "docs"
    index = (root / "README.md").read_text()
    pages = [page.relative_to(root).as_posix() for page in root.rglob("*.md") if page.name != "README.md"]
    assert [page for page in pages if f"({page})" not in index] == []
