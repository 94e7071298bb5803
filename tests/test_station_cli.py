"""Administering a station by commands, beside its server: what they print, keep in the log, and exit with."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from blemish import cli
from blemish.cli import app, main
from blemish.errors import BlemishError, SettingError
from blemish.results import Verdict
from blemish.station import audit, people
from blemish.station.keeping import Retention, retention_of
from blemish.station.people import People, Role
from blemish.station.store import DATABASE, NewInspection, Store

PASSWORD = "three words in a row"
OTHER = "some other four words"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take an scrypt of a thousandth of the cost, and a name for whoever is logged in here."""
    monkeypatch.setattr(people, "_N", 2**5)
    monkeypatch.setattr("getpass.getuser", lambda: "root")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A station whose server runs as long as the test."""
    with Store(tmp_path / "station") as opened:
        opened.add_part("cap", who="anna")
        opened.add_model("cap", b"model", origin="fit", who="anna", activate=True)
        opened.add_inspection(NewInspection("cap", 1, "0" * 64, b"image", ".png", Verdict.GOOD, 1.0, 2.0, {}))
        yield opened


def run(*arguments: object, typed: str | None = None) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=typed)
    if result.exception is not None and not isinstance(result.exception, (SystemExit, BlemishError)):
        raise result.exception
    return result


def station(*arguments: object, typed: str | None = None) -> Result:
    return run("station", *arguments, typed=typed)


def newest(store: Store) -> tuple[str, str]:
    entry = audit.entries(store, limit=1)[0]
    return entry.who, entry.what


def test_the_roles_are_those_of_the_library() -> None:
    assert [each.value for each in cli._Role] == list(Role)


# --------------------------------------------------------------------------------------------------------------- users


def test_a_user_is_added_with_a_password_that_is_typed_twice(store: Store) -> None:
    result = station("user", "add", store.folder, "anna", "--role", "admin", typed=f"{PASSWORD}\n{PASSWORD}\n")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "admin     anna")
    assert PASSWORD not in result.output
    assert newest(store) == ("command:root", "user.add")
    secret, _ = People(store).log_in("anna", PASSWORD)  # the server that runs knows it at once
    result = station("user", "password", store.folder, "Anna", typed=f"{OTHER}\n{OTHER}\n")
    assert (result.exit_code, newest(store)) == (0, ("command:root", "user.password"))
    assert People(store).session(secret) is None
    assert People(store).log_in("anna", OTHER)


def test_a_password_that_is_mistyped_is_asked_for_again(store: Store) -> None:
    typed = f"{PASSWORD}\n{OTHER}\n{PASSWORD}\n{PASSWORD}\n"
    assert station("user", "add", store.folder, "anna", "--role", "admin", typed=typed).exit_code == 0
    assert People(store).log_in("anna", PASSWORD)


@pytest.mark.parametrize("typed", ["", f"{PASSWORD}\n"])
def test_a_question_for_a_password_that_is_not_answered_stops_the_command(store: Store, typed: str) -> None:
    result = station("user", "add", store.folder, "anna", "--role", "admin", typed=typed)
    assert result.exit_code == 130
    assert "stopped" in result.stderr
    assert People(store).users() == []


@pytest.mark.parametrize("begin", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\nsomething else\n"])
def test_a_password_is_the_first_line_of_a_file(store: Store, tmp_path: Path, begin: bytes, end: bytes) -> None:
    file = tmp_path / "password"
    file.write_bytes(begin + PASSWORD.encode() + end)
    station("user", "add", store.folder, "anna", "--role", "engineer", "--password-file", file)
    assert People(store).log_in("anna", PASSWORD)[1].user.role is Role.ENGINEER


def test_a_password_comes_from_stdin(store: Store) -> None:
    station("user", "add", store.folder, "anna", "--role", "admin", "--password-file", "-", typed=f"{PASSWORD}\n")
    assert People(store).log_in("anna", PASSWORD)


@pytest.mark.parametrize("content", [None, b"", b"\n" + PASSWORD.encode(), b"short\n", b"\xff" * 20])
def test_a_password_that_is_none_is_refused(store: Store, tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    result = station("user", "add", store.folder, "anna", "--role", "admin", "--password-file", file)
    assert isinstance(result.exception, BlemishError)
    assert "expected" in str(result.exception)
    assert People(store).users() == []


def test_no_command_takes_a_password_as_an_argument() -> None:
    assert "--password " not in station("user", "add", "--help").stdout
    assert station("user", "add", "x", "anna", PASSWORD, "--role", "admin").exit_code == 2


def test_roles_and_being_disabled(store: Store) -> None:
    for name, role in (("anna", "admin"), ("ben", "operator")):
        station("user", "add", store.folder, name, "--role", role, "--password-file", "-", typed=PASSWORD)
    assert station("user", "role", store.folder, "ben", "--role", "engineer").stdout == "engineer  ben\n"
    assert newest(store) == ("command:root", "user.role")
    assert station("user", "disable", store.folder, "ben").exit_code == 0
    assert station("user", "list", store.folder).stdout == "admin     anna\nengineer  ben  disabled\n"
    assert station("user", "disable", store.folder, "ben", "--undo").exit_code == 0
    listed = [json.loads(line) for line in station("user", "list", store.folder, "--json").stdout.splitlines()]
    assert [(each["name"], each["role"], each["disabled"]) for each in listed] == [
        ("anna", "admin", False),
        ("ben", "engineer", False),
    ]
    result = station("user", "disable", store.folder, "anna")
    assert "last admin" in str(result.exception)
    assert station("user", "role", store.folder, "ben", "--role", "king").exit_code == 2


def test_the_first_user_makes_the_station_and_no_other_command_does(tmp_path: Path) -> None:
    for arguments in (("user", "list"), ("verify",), ("check",), ("retention",), ("token", "add", "camera")):
        result = station(*arguments[:2], tmp_path / "new", *arguments[2:])
        assert "holds no station" in str(result.exception)
    assert "holds no station" in str(run("backup", tmp_path / "new", tmp_path / "b.tar").exception)
    assert list(tmp_path.iterdir()) == []
    result = station("user", "add", tmp_path / "new", "anna", "--role", "admin", "--password-file", "-", typed=PASSWORD)
    assert "is a new station" in result.stderr
    with Store(tmp_path / "new") as made:
        assert People(made).has_admin()


# -------------------------------------------------------------------------------------------------------------- tokens


def test_a_token_is_printed_once_and_can_be_revoked(store: Store) -> None:
    result = station("token", "add", store.folder, "camera")
    secret = result.stdout.strip()
    found = People(store).token(secret)
    assert found is not None
    assert (found.role, found.who) == (Role.OPERATOR, "command:root")
    station("token", "add", store.folder, "press", "--role", "engineer")
    assert station("token", "revoke", store.folder, "camera").exit_code == 0
    assert People(store).token(secret) is None
    told = station("token", "list", store.folder)
    assert told.stdout == "operator  camera  revoked\nengineer  press\n"
    as_json = station("token", "list", store.folder, "--json").stdout
    assert [json.loads(line)["revoked"] is None for line in as_json.splitlines()] == [False, True]
    assert secret not in told.stdout + as_json


# ----------------------------------------------------------------------------------------------------- log and files


def test_verify_prints_the_head_and_finds_what_was_changed(store: Store) -> None:
    result = station("verify", store.folder)
    head = result.stdout.strip()
    assert (result.exit_code, head) == (0, str(audit.verify(store).head))
    store.note("anna", "test.note")
    assert station("verify", store.folder, "--head", head).exit_code == 0
    with closing(sqlite3.connect(store.folder / DATABASE)) as connection:
        connection.execute("DROP TRIGGER audit_is_never_changed")
        connection.execute("UPDATE audit SET who = 'nobody' WHERE sequence = 2")
        connection.commit()
    result = station("verify", store.folder)
    assert (result.exit_code, result.stderr) == (1, "BROKEN  Entry 2 was changed after it was written.\n")
    result = station("verify", store.folder, "--json")
    assert result.exit_code == 1
    assert len(json.loads(result.stdout)["faults"]) == 1
    assert station("check", store.folder).exit_code == 1


def test_verify_compares_with_a_head_that_was_noted(store: Store) -> None:
    number, _, digest = station("verify", store.folder).stdout.strip().partition(":")
    for noted in (f"{number}:{'0' * 64}", f"{int(number) + 1}:{digest}"):
        assert station("verify", store.folder, "--head", noted).exit_code == 1
        assert station("check", store.folder, "--head", noted).exit_code == 1
    assert "expected SEQUENCE:HASH" in str(station("verify", store.folder, "--head", "yesterday").exception)


def test_check_names_every_file_that_is_missing_changed_or_unnamed(store: Store) -> None:
    assert station("check", store.folder).exit_code == 0
    image = store.inspections()[0].image_file
    assert image is not None
    (store.folder / "images" / "stranger.png").write_bytes(b"?")
    assert station("check", store.folder).exit_code == 0
    store.path(image).unlink()
    store.path("parts/cap/models/1.blemish").write_bytes(b"other")
    result = station("check", store.folder)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"MISSING  {image}",
        "CHANGED  parts/cap/models/1.blemish",
        "UNNAMED  images/stranger.png",
    ]
    found = json.loads(station("check", store.folder, "--json").stdout)
    assert (found["missing"], found["unnamed"]) == ([image], ["images/stranger.png"])


# ------------------------------------------------------------------------------------------------- backup, retention


@pytest.mark.parametrize("command", [("backup",), ("station", "backup")])
def test_a_backup_beside_the_server_is_restored(store: Store, tmp_path: Path, command: tuple[str, ...]) -> None:
    result = run(*command, store.folder, tmp_path / "b.tar")
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'b.tar'}\n")
    assert newest(store) == ("command:root", "backup.make")
    result = station("restore", tmp_path / "b.tar", tmp_path / "again")
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'again'}\n")
    assert station("check", tmp_path / "again").exit_code == 0
    with Store(tmp_path / "again") as again:
        assert again.inspections() == store.inspections()
        assert newest(again) == ("command:root", "station.restore")
    assert "never overwritten" in str(run(*command, store.folder, tmp_path / "b.tar").exception)
    assert "never overwritten" in str(station("restore", tmp_path / "b.tar", tmp_path / "again").exception)


def test_a_backup_without_images_is_smaller_and_one_with_a_lost_file_says_so(store: Store, tmp_path: Path) -> None:
    told = json.loads(run("backup", store.folder, tmp_path / "small.tar", "--no-images", "--json").stdout)
    assert (told["path"], told["n_files"]) == (str(tmp_path / "small.tar"), 1)
    store.path("parts/cap/models/1.blemish").unlink()
    result = run("backup", store.folder, tmp_path / "b.tar")
    assert result.exit_code == 1
    assert "MISSING  parts/cap/models/1.blemish" in result.stderr


def test_a_backup_with_a_broken_log_is_restored_and_said(store: Store, tmp_path: Path) -> None:
    with closing(sqlite3.connect(store.folder / DATABASE)) as connection:
        connection.execute("DROP TRIGGER audit_is_never_shortened")
        connection.execute("DELETE FROM audit WHERE sequence = 2")
        connection.commit()
    run("backup", store.folder, tmp_path / "b.tar")
    result = station("restore", tmp_path / "b.tar", tmp_path / "again")
    assert result.exit_code == 1
    assert "BROKEN  Between entries 1 and 3" in result.stderr
    assert (tmp_path / "again" / DATABASE).is_file()


def test_retention_is_shown_and_set(store: Store) -> None:
    assert station("retention", store.folder).stdout == "Everything is kept for ever.\n"
    before = len(audit.entries(store))
    result = station("retention", store.folder, "--image-days", 30, "--image-gb", 200, "--record-days", 365)
    assert retention_of(store) == Retention(30.0, 200_000_000_000, 365.0)
    assert result.stdout == station("retention", store.folder).stdout
    assert len(audit.entries(store)) == before + 1
    station("retention", store.folder, "--image-gb", 0.5)  # what is not given is kept for ever
    assert json.loads(station("retention", store.folder, "--json").stdout) == {
        "image_days": None,
        "record_days": None,
        "image_bytes": 500_000_000,
    }
    for wrong in (("--image-days", 0), ("--record-days", 3), ("--image-gb", "nan"), ("--clear", "--image-days", 1)):
        assert isinstance(station("retention", store.folder, *wrong).exception, SettingError)
    assert retention_of(store) == Retention(image_bytes=500_000_000)
    station("retention", store.folder, "--clear")
    assert retention_of(store) == Retention()


# --------------------------------------------------------------------------------------------------------- as commands


def test_an_error_is_one_message_and_exit_code_2(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["blemish", "station", "user", "disable", str(store.folder), "nobody"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert capsys.readouterr().err == "blemish: There is no user 'nobody'.\n"


def test_a_command_without_a_name_for_its_user_goes_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_name() -> str:
        raise KeyError(os.getpid())

    monkeypatch.setattr("getpass.getuser", no_name)
    station("token", "add", store.folder, "camera")
    assert newest(store) == ("command", "token.add")


def test_commands_work_where_the_packages_of_the_server_are_not_installed(store: Store) -> None:
    code = (
        "import sys\n"
        "for name in ('fastapi', 'uvicorn', 'httpx', 'torch'): sys.modules[name] = None\n"
        "from blemish.cli import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", code, "station", "verify", str(store.folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, str(audit.verify(store).head))
