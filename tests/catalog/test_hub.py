"""Architectures from Hugging Face, against a stand-in server; the client reads its environment once, so each question
is a process of its own."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip("huggingface_hub", reason="needs the extra hub")

TINY = {
    "num_hidden_layers": 2,
    "hidden_size": 256,
    "num_attention_heads": 4,
    "intermediate_size": 512,
    "vocab_size": 1000,
    "torch_dtype": "bfloat16",
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
}
ANSWERS = {  # status, error code, content
    "/acme/tiny": (200, "", json.dumps(TINY)),
    "/acme/small": (200, "", json.dumps(TINY)),
    "/acme/small/hf_quant_config.json": (200, "", json.dumps({"quantization": {"quant_algo": "FP8"}})),
    "/acme/gated": (403, "GatedRepo", ""),
    "/acme/gated-401": (401, "GatedRepo", ""),
    "/acme/forbidden": (403, "", ""),
    "/acme/none": (404, "RepoNotFound", ""),
    "/acme/hidden": (401, "RepoNotFound", ""),
    "/acme/weights-only": (404, "EntryNotFound", ""),
    "/acme/down": (503, "", ""),
    "/acme/broken": (200, "", "{'a': 1}"),
    "/acme/headless": (200, "", json.dumps({**TINY, "num_attention_heads": 0})),
}
NOT_IN_CATALOG = "--model is not in the catalog, and "
OR_FOLDER = "or give model_config, a folder with its config.json"


class Hub(BaseHTTPRequestHandler):
    """Answers for some repositories as the hub does; 404 to all else, such as the client's own housekeeping."""

    def do_HEAD(self):
        self.server.asked.append(self.path)
        repo, _, file = self.path.partition("/resolve/main/")
        if file != "config.json":
            repo += f"/{file}"
        if repo == "/acme/silent":
            time.sleep(3)
        if repo == "/acme/gated" and self.headers["Authorization"] == "Bearer hf_right":
            repo = "/acme/tiny"
        status, code, text = ANSWERS.get(repo, (404, "EntryNotFound" if "hf_quant" in file else "RepoNotFound", ""))
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("X-Repo-Commit", "0123456789" * 4)
        self.send_header("ETag", f'"{abs(hash(text)):040x}"')
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(text.encode())

    def do_GET(self):
        self.do_HEAD()

    def log_message(self, *words):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.asked = []
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def ask(server, tmp_path):
    def ask(model, *words, **environment):
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        environment = {
            **clean,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "HF_HUB_ETAG_TIMEOUT": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1",
            **environment,
        }
        code = "import sys; from blis_simpy.cli.main import main; sys.exit(main(sys.argv[1:]))"
        command = [sys.executable, "-c", code, "run", "--model", model, "--hardware", "H100", "--tp", "1", *words]
        return subprocess.run(
            [*command, "--show-config"], env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    return ask


def test_a_model_that_is_not_in_the_catalog_is_fetched(ask, server):
    done = ask("acme/tiny")
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"^model_config: \S+models--acme--tiny\S+config\.json +# hub: acme/tiny$", done.stdout, re.MULTILINE
    )
    assert re.search(r"^  max_model_len: 2048 +# derived from max_position_embeddings", done.stdout, re.MULTILINE)
    assert {path for path in server.asked if "acme" in path} == {
        "/acme/tiny/resolve/main/config.json",
        "/acme/tiny/resolve/main/hf_quant_config.json",
    }


def test_quantisation_that_stands_in_a_file_beside_is_fetched_and_kept(ask, server):
    words = ("--kv-capacity-rules", "vllm", "--latency-model", "roofline")
    plain, first = ask("acme/tiny", *words), ask("acme/small", *words)
    asked = [path for path in server.asked if "acme" in path]
    kept = ask("acme/small", *words)
    blocks = [int(re.search(r"^  blocks: (\d+)", done.stdout, re.MULTILINE)[1]) for done in (plain, first, kept)]
    assert blocks[0] < blocks[1] == blocks[2]
    assert [path for path in server.asked if "acme" in path] == asked


@pytest.mark.parametrize("environment", [{}, {"HF_HUB_OFFLINE": "1"}], ids=["server down", "offline"])
def test_what_was_fetched_once_is_not_asked_for_again(ask, server, environment):
    first = ask("acme/tiny")
    server.shutdown()
    server.server_close()
    assert ask("acme/tiny", **environment).stdout == first.stdout


def test_offline_mode_asks_nobody(ask, server):
    done = ask("acme/tiny", HF_HUB_OFFLINE="1")
    reason = "its config.json was never fetched, and HF_HUB_OFFLINE forbids it now"
    assert done.stderr == f"{NOT_IN_CATALOG}{reason}, got 'acme/tiny'; {OR_FOLDER}\n"
    assert (done.returncode, server.asked) == (2, [])


def test_a_token_opens_a_gated_repository(ask):
    assert ask("acme/gated", HF_TOKEN="hf_right").returncode == 0


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("acme/gated", "{} shows it to approved users only: ask for access there and set HF_TOKEN"),
        ("acme/gated-401", "{} shows it to approved users only: ask for access there and set HF_TOKEN"),
        ("acme/forbidden", "{} refuses to show it (HTTP 403): is HF_TOKEN right?"),
        ("acme/none", "{} has no such repository, or hides it without the right HF_TOKEN"),
        ("acme/hidden", "{} has no such repository, or hides it without the right HF_TOKEN"),
        ("acme/weights-only", "its repository on {} has no config.json"),
        ("acme/down", "{} does not give its config.json (HTTP 503)"),
        ("acme", "its name is not that of a Hugging Face repository: organisation/name"),
        ("acme/a/b", "its name is not that of a Hugging Face repository: organisation/name"),
        ("acme/a--b", "its name is not that of a Hugging Face repository"),
    ],
)
def test_a_file_that_cannot_be_had_is_one_line(ask, server, model, reason):
    done = ask(model)
    reason = reason.format(f"http://127.0.0.1:{server.server_port}")
    assert done.stderr == f"{NOT_IN_CATALOG}{reason}, got {model!r}; {OR_FOLDER}\n"
    assert (done.returncode, done.stdout) == (2, "")


def test_a_silent_hub_is_given_up_after_the_timeout(ask, server):
    done = ask("acme/silent")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"{NOT_IN_CATALOG}http://127.0.0.1:{server.server_port} cannot be reached: ")
    assert "timed out" in done.stderr


def test_an_unreachable_hub_is_one_line(ask, server):
    server.shutdown()
    server.server_close()
    done = ask("acme/tiny")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"{NOT_IN_CATALOG}http://127.0.0.1:{server.server_port} cannot be reached: ")


@pytest.mark.parametrize(
    ("model", "what"),
    [
        ("acme/broken", r"is not valid JSON: Expecting property name enclosed in double quotes \(line 1\)"),
        ("acme/headless", "num_attention_heads must be > 0, got 0"),
    ],
)
def test_a_bad_file_is_named_with_where_it_came_from(ask, model, what):
    assert re.search(rf"^\S+models--acme--\w+/\S+/config\.json: {what}", ask(model).stderr, re.MULTILINE)


def test_a_near_miss_is_pointed_out(ask):
    assert "; did you mean 'Qwen/Qwen3-14B'? or give model_config" in ask("qwen/qwen3-14bb").stderr


def test_nobody_is_asked_where_the_architecture_is_not_needed(ask, server):
    done = ask("acme/tiny", "--alpha-coeffs", "1,2,3", "--beta-coeffs", "1,2,3")
    assert done.returncode == 0
    assert server.asked == []


def test_without_the_client_the_line_says_how_to_get_it(ask, tmp_path):
    (tmp_path / "huggingface_hub.py").write_text("raise ImportError('not installed')\n")
    done = ask("acme/tiny", PYTHONPATH=str(tmp_path))
    reason = "fetching it from Hugging Face needs: pip install blis-simpy[hub]"
    assert done.stderr == f"{NOT_IN_CATALOG}{reason}, got 'acme/tiny'; {OR_FOLDER}\n"
