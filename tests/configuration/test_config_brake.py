"""What a refused file may still want: nobody else sent away."""

from pathlib import Path

import pytest

from eas_redirect.configuration.config import brake, load_config, policy

HEAD = 'mode = "enforce"\n[directory]\nsnapshot = "people.ldif"\n'
WAVE = """\
[redirect.only]
users = ["anna", "bert"]
percent = 20
device_types = ["ip*"]
[redirect.except]
users_file = "stay.txt"
networks = ["10.0.0.0/8"]
"""
FAULT = "[proxy]\nworkers = 'two'\n"

# What the refused file has in place of the good one, and whether that goes on.
GOES_ON = {
    "the same with a fault elsewhere": HEAD + WAVE + FAULT,
    "a table that nobody knows": HEAD + WAVE + "[cash]\nfound_s = none\n",
    "a broken head": HEAD + WAVE + "[proxy\nworkers = 2\n",
    "a wider wave": HEAD + WAVE.replace('"bert"', '"bert", "carl"').replace("20", "30") + FAULT,
    "everyone": HEAD + FAULT,
    "fewer exceptions": HEAD + WAVE.partition("networks")[0] + FAULT,
    "another kind of device": HEAD + WAVE.replace('"ip*"', '"ip*", "an*"') + FAULT,
    "a fault in a relationship": HEAD + WAVE + "[[redirect.relationships]]\nname = 'x'\n",
}
STOPS = {
    "observe": HEAD.replace("enforce", "observe") + WAVE + FAULT,
    "observe without quotes": HEAD.replace('"enforce"', "observe") + WAVE,
    "no mode": HEAD.partition("\n")[2] + WAVE,
    "a mode of another name": HEAD.replace("mode", "Mode").replace("enforce", "observe") + WAVE,
    "a mode below a table": HEAD + WAVE + '[judge]\nmode = "observe"\n',
    "one user less": HEAD + WAVE.replace(', "bert"', "") + FAULT,
    "another user": HEAD + WAVE.replace("bert", "carl") + FAULT,
    "a smaller share": HEAD + WAVE.replace("20", "10") + FAULT,
    "another kind of device alone": HEAD + WAVE.replace("ip*", "an*") + FAULT,
    "one more exception": HEAD + WAVE.replace("networks", 'users = ["dora"]\nnetworks') + FAULT,
    "a greater network": HEAD + WAVE.replace("10.0.0.0/8", "10.0.0.0/7") + FAULT,
    "a new kind of exception": HEAD + WAVE + 'device_types = ["x"]\n' + FAULT,
    "a list that is not closed": HEAD + WAVE.replace('"bert"]', '"bert"') + FAULT,
    "a misspelt table": HEAD + WAVE + '[redirect.exept]\nusers = ["dora"]\n',
    "a misspelt table of redirect": HEAD + WAVE + '[redirct.except]\nusers = ["dora"]\n',
    "a table of no redirect": HEAD + WAVE + '[except]\nusers = ["dora"]\n',
    "a head in comment": HEAD + "[redirect]\n# [redirect.only]\nusers = ['dora']\n",
    "a broken head of an exception": HEAD + WAVE + '[redirect.except\nusers = ["dora"]\n',
    "a table of nobody": HEAD + WAVE.replace('users_file = "stay.txt"', "users = []") + FAULT,
    "a file of users that is not there": HEAD + WAVE.replace("stay.txt", "gone.txt"),
    "a value of another kind": HEAD + WAVE.replace("20", "'20'"),
    "a share without a number": HEAD + WAVE.replace("20", ""),
    "nothing of TOML": "stop it at once\n",
    "empty": "",
    "no text": "\ud800",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "people.ldif").write_text("dn: DC=contoso,DC=example\n")
    (tmp_path / "stay.txt").write_text("emil\n")
    path = tmp_path / "eas-redirect.toml"
    path.write_text(HEAD + WAVE)
    return path


def test_what_goes_on_and_what_stops(file: Path) -> None:
    in_force = policy(load_config(file, environment={})).wave
    for rows, stops in ((GOES_ON, False), (STOPS, True)):
        for name, text in rows.items():
            file.write_bytes(text.encode("utf-8", "surrogatepass"))
            why = brake(file, in_force, {}, environment={})
            assert (why is not None) is stops, (name, why)


def test_a_name_added_to_the_file_of_exceptions_stops(file: Path) -> None:
    in_force = policy(load_config(file, environment={})).wave
    file.write_text(HEAD + WAVE + FAULT)
    (file.parent / "stay.txt").write_text("emil\ndora\n")
    assert "leaves out more" in (brake(file, in_force, {}, environment={}) or "")


def test_an_option_or_the_environment_says_the_mode(file: Path) -> None:
    """As they do for a good file."""
    in_force = policy(load_config(file, environment={})).wave
    file.write_text(HEAD.replace("enforce", "observe") + WAVE + FAULT)
    assert brake(file, in_force, {"mode": "enforce"}, environment={}) is None
    assert brake(file, in_force, {}, environment={"EAS_REDIRECT__MODE": "enforce"}) is None
    file.write_text(HEAD + WAVE + FAULT)
    said = brake(file, in_force, {}, environment={"EAS_REDIRECT__MODE": "observe"})
    assert said == 'it says mode = "observe"'
