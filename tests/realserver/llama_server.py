"""The llama.cpp server of the wheel `xllamacpp`, with a tiny random model that the package `gguf` writes.

For tests, and by hand: ``python tests/realserver/llama_server.py --port 8080`` serves the model `MODEL` until it is
interrupted. Token counts can be reckoned: a word of `WORDS` and ``hello`` are one token each, so is the blank that
trails a prompt, and there is no token for the beginning.
"""

import argparse
import contextlib
import http.client
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from blis_simpy.realserver.prompts import WORDS

MODEL = "tiny"
CONTEXT = 8192
"""Tokens that one sequence may have."""
SLOTS = 4
"""Sequences in a batch."""
_STARTUP_SECONDS = 120


def free_port():
    """Find a port of this machine that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def write_model(path, seed=1):
    """Write a llama of one layer with random weights; every token it says is one of the words."""
    import gguf
    import numpy as np

    width, heads, inner = 32, 2, 64
    rng = np.random.default_rng(seed)
    kinds = gguf.TokenType
    vocabulary = [("<unk>", kinds.UNKNOWN), ("<s>", kinds.CONTROL), ("</s>", kinds.CONTROL)]
    vocabulary += [(f"<0x{byte:02X}>", kinds.BYTE) for byte in range(256)]
    silent = len(vocabulary)
    words = [f"\u2581{word}" for word in ("hello", *WORDS)]
    # The tokenizer builds a word letter by letter, so its beginnings are tokens too.
    pieces = sorted({word[:end] for word in words for end in range(1, len(word) + 1)} | set("".join(words)))
    vocabulary += [(piece, kinds.NORMAL) for piece in pieces]
    spoken = [silent + pieces.index(word) for word in words]

    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name(MODEL)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_rope_dimension_count(width // heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(vocabulary))
    writer.add_tokenizer_model("llama")
    writer.add_token_list([token for token, _ in vocabulary])
    writer.add_token_scores([float(len(token)) if kind is kinds.NORMAL else 0.0 for token, kind in vocabulary])
    writer.add_token_types([int(kind) for _, kind in vocabulary])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_chat_template(
        "{% for message in messages %}{{ message.content }}{{ ' ' if message.role == 'assistant' }}{% endfor %}"
    )

    def weights(*shape):
        return rng.normal(0, 0.2, shape).astype(np.float32)

    # Pieces that are no words, and the end of a text, keep a logit of 0: below that of forty words.
    head = np.zeros((len(vocabulary), width), np.float32)
    head[spoken] = 5 * weights(len(spoken), width)
    tensors = {
        "token_embd": weights(len(vocabulary), width),
        "output_norm": np.ones(width, np.float32),
        "output": head,
        "blk.0.attn_norm": np.ones(width, np.float32),
        "blk.0.ffn_norm": np.ones(width, np.float32),
        **{f"blk.0.attn_{name}": weights(width, width) for name in ("q", "k", "v", "output")},
        **{f"blk.0.ffn_{name}": weights(inner, width) for name in ("gate", "up")},
        "blk.0.ffn_down": weights(width, inner),
    }
    for name, values in tensors.items():
        writer.add_tensor(f"{name}.weight", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def serve(path, port):
    """Serve a model file in this process until SIGINT or SIGTERM."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.model_alias = {MODEL}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_ctx = CONTEXT * SLOTS
    params.n_parallel = SLOTS
    params.endpoint_metrics = True
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    print(f"serving {MODEL} at {server.listening_address}", flush=True)
    ended.wait()


def _answers(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def settled_metrics(url):
    """Read what the server counts once it counts no more: it does so a little after its last answer."""
    seen, now = None, metrics(url)
    while seen != now:
        time.sleep(0.3)
        seen, now = now, metrics(url)
    return now


def metrics(url):
    """Read what the server counts at ``/metrics``: a mapping of names, without ``llamacpp:``, to numbers."""
    address = url.removeprefix("http://")
    with contextlib.closing(http.client.HTTPConnection(address, timeout=30)) as connection:
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
    rows = (line.removeprefix("llamacpp:").split() for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in rows}


@contextlib.contextmanager
def llama_server(folder):
    """Write the model into a folder and serve it in a process of its own; gives the server's URL."""
    folder = Path(folder)
    write_model(folder / "tiny.gguf")
    port = free_port()
    command = [sys.executable, __file__, "--port", str(port), "--model", str(folder / "tiny.gguf")]
    log = folder / "llama_server.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + _STARTUP_SECONDS
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server does not answer:\n{log.read_text()}")
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def main():
    """Serve the tiny model until interrupted."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--model", help="model file; a new one in a temporary folder unless given")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = options.model
        if model is None:
            model = Path(folder) / "tiny.gguf"
            write_model(model)
        serve(model, options.port)


if __name__ == "__main__":
    main()
