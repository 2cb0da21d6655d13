"""The storage: faults in one line, passwords in none."""

import socket
from pathlib import Path

import pytest

from avfusion.experiments.sweep.storage import default_storage, open_storage, public_url
from avfusion.runtime.errors import AVFusionError, BadInputError


def test_the_password_is_not_shown() -> None:
    assert public_url("postgresql://me:secret@host:5432/studies") == "postgresql://me:***@host:5432/studies"


@pytest.mark.parametrize("url", ["optuna.db", "", "me:secret@host"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(BadInputError, match="no database URL: must be sqlite:///FILE or postgresql:") as caught:
        open_storage(url, 30)
    assert "secret" not in str(caught.value)


def test_a_storage_out_of_reach_is_one_clear_line_without_the_password() -> None:
    pytest.importorskip("psycopg2")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        url = f"postgresql://me:secret@127.0.0.1:{taken.getsockname()[1]}/studies"
        with pytest.raises(AVFusionError, match=r"postgresql://me:\*\*\*@127.* cannot be used: .*refused") as caught:
            open_storage(url, 30)
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_another_file_is_no_storage(tmp_path: Path) -> None:
    (tmp_path / "other.db").write_text("not a database " * 100)
    with pytest.raises(AVFusionError, match=r"other\.db cannot be used: file is not a database"):
        open_storage(f"sqlite:///{tmp_path / 'other.db'}", 30)


def test_unknown_databases_and_missing_drivers_are_named() -> None:
    with pytest.raises(AVFusionError, match=r"storage mongodb://a:\*\*\*@h/d cannot be used"):
        open_storage("mongodb://a:secret@h/d", 30)
    with pytest.raises(BadInputError, match="the driver of that database is not installed"):
        open_storage("mysql+cymysql://a:secret@h/d", 30)


def test_the_projects_own_storage_lies_beside_mlflows(tmp_path: Path) -> None:
    url = default_storage(tmp_path)
    assert url == f"sqlite:///{tmp_path}/mlruns/optuna.db"
    open_storage(url, 30)
    assert (tmp_path / "mlruns" / "optuna.db").is_file()
