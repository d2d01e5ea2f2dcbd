"""The commands of the documentation that need a server, with one."""

import re
import shlex
from pathlib import Path

import blis_simpy as blis
from blis_simpy.cli.main import main

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "observe.md").read_text(encoding="utf-8")


def test_commands_and_examples_of_the_page_work(llama_url, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = PAGE.replace("http://localhost:8000", llama_url).replace("my/model", "tiny")
    for name, content in re.findall(r'^```yaml title="([^"]+)"\n(.*?)^```$', page, re.MULTILINE | re.DOTALL):
        Path(name).write_text(content, encoding="utf-8")
    texts = "".join(re.findall(r"^```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    commands = re.findall(r"^\$ blis (.*)$", texts, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        assert main(shlex.split(command)) == 0
        printed = capsys.readouterr()
        assert printed.err == ""
        assert " ok\n" in printed.out
        assert " error" not in printed.out
    names = {"blis": blis}
    for line in re.findall(r"^>>> (.*)$", texts, re.MULTILINE):
        exec(line, names)
    assert set(names["recording"].statuses) == {"ok"}
    assert f"{names['recording'].statuses}" in texts
    assert Path("talk-rec.csv").exists()
