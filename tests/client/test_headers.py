from __future__ import annotations

from pathlib import Path

import pytest

from p2pcompute.client.headers import included_files
from p2pcompute.client.kernel import Kernel
from p2pcompute.errors import UsageError
from p2pcompute.wire import limits


def _write(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        file = folder / name.replace("__", "/").replace("_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def test_files_are_found_from_the_including_file(tmp_path: Path) -> None:
    _write(tmp_path, src__k_cu='#include "../lib/a.h"\n', lib__a_h='#include "b.h"\n', lib__b_h="// b\n")
    found = included_files(tmp_path / "src" / "k.cu")
    assert found == {"../lib/a.h": '#include "b.h"\n', "../lib/b.h": "// b\n"}


def test_folders_are_looked_through(tmp_path: Path) -> None:
    _write(tmp_path, k_cu="#include <a.h>\n", inc__a_h="// a\n")
    kernel = Kernel.from_file(tmp_path / "k.cu", "k", include=[tmp_path / "inc"])
    assert kernel.headers == {"inc/a.h": "// a\n"}


@pytest.mark.parametrize("wanted", ["/etc/passwd", "secret", "secret.txt", "~/.profile", "gone.h"])
def test_nothing_but_sources_is_read(tmp_path: Path, wanted: str) -> None:
    _write(tmp_path, k_cu=f'#include "{wanted}"\n', secret="s", secret_txt="s")
    assert included_files(tmp_path / "k.cu") == {}


def test_files_that_include_each_other_are_read_once(tmp_path: Path) -> None:
    _write(tmp_path, k_cu='#include "a.h"\n', a_h='#include "k.cu"\n#include "a.h"\n')
    assert list(included_files(tmp_path / "k.cu")) == ["a.h"]


def test_as_many_files_are_taken_as_a_task_may_have(tmp_path: Path) -> None:
    names = [f"h{n}.h" for n in range(100)]
    for name in names:
        (tmp_path / name).write_text("\n")
    (tmp_path / "k.cu").write_text("".join(f'#include "{name}"\n' for name in names))
    assert len(included_files(tmp_path / "k.cu")) == limits.SOURCES_MAX - 1


def test_a_missing_main_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        included_files(tmp_path / "gone.cu")
