"""Makes the frozen vectors beside it: references in float64, and transformers' decoders.

    PYTHONPATH=tests python tests/golden/make.py    # needs the extra `parity`

Nothing here imports seedasr_jax: what it checks is written again, slowly, with loops over time.

Dims: B batch, S samples, T frames, F mel bins, D width, H heads, K head width, L tokens,
V vocabulary.
"""

import json
import pathlib
import tempfile

import foreign
import numpy as np
from safetensors import safe_open
import torch
import transformers
from transformers.audio_utils import mel_filter_bank

FOLDER = pathlib.Path(__file__).parent


def save(name, **arrays):
    """Writes NAME.npz; float64 becomes float32, which is all that a test compares."""
    arrays = {k: np.asarray(v) for k, v in arrays.items()}
    small = {k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in arrays.items()}
    np.savez_compressed(FOLDER / f"{name}.npz", **small)


def log_mel():
    """A chirp in noise, and a short tone: DFT by its definition, transformers' mel filters."""
    rng = np.random.default_rng(0)
    rate, hop, window, size = 16_000, 160, 400, 512
    seconds = np.arange(6_400) / rate
    chirp = 0.5 * np.sin(2 * np.pi * (200 * seconds + 3_000 * seconds**2))
    tone = 0.01 * np.sin(2 * np.pi * 1_000 * seconds)
    wave = np.stack([chirp, tone]) + rng.normal(0, [[0.01], [0.001]], (2, 6_400))
    wave = wave.astype(np.float32)
    length = np.array([6_400, 3_333], np.int32)
    mels, low, high, floor = 40, 20.0, 7_600.0, 1e-5
    bank = mel_filter_bank(257, mels, low, high, rate, norm=None, mel_scale="htk")
    hann = np.array([0.5 - 0.5 * np.cos(2 * np.pi * n / window) for n in range(window)])
    turns = np.outer(np.arange(window), np.arange(257)) / size
    dft = np.exp(-2j * np.pi * turns)
    out = np.zeros((2, 6_400 // hop, mels))
    for row in range(2):
        frames = -(-int(length[row]) // hop)
        signal = np.concatenate([wave[row, : length[row]].astype(np.float64), np.zeros(window)])
        energies = np.zeros((frames, mels))
        for t in range(frames):
            spectrum = (signal[t * hop : t * hop + window] * hann) @ dft
            energies[t] = (abs(spectrum) ** 2) @ bank
        logs = np.log(energies / energies.mean() + floor)
        out[row, :frames] = (logs - logs.mean(0)) / np.sqrt(logs.var(0) + 1e-5)
    count = -(-length // hop)
    save("log_mel", wave=wave, length=length, out=out, count=count)


def relative_attention(x, length, p, heads, clip):
    """Self-attention with relative positions, one query and one key at a time (arXiv 1901.02860).

    Score of query t for key s: (q_t + u) . k_s + (q_t + v) . W r_(t-s), over sqrt(K); with clip > 0
    q_t . k_s + q_t . a_clip(t-s) (arXiv 1803.02155).
    """
    frames, width = x.shape
    size = width // heads
    q, k, v = (x @ p[f"{n}/kernel"] + p[f"{n}/bias"] for n in ("query", "key", "value"))
    out = np.zeros((frames, width))
    for h in range(heads):
        part = slice(h * size, (h + 1) * size)
        for t in range(frames):
            scores = np.zeros(length)
            for s in range(length):
                if clip:
                    key = p["distance"][min(max(t - s, -clip), clip) + clip]
                    scores[s] = q[t, part] @ k[s, part] + q[t, part] @ key
                else:
                    angles = [(t - s) / 10_000 ** (2 * i / width) for i in range(width // 2)]
                    r = np.concatenate([np.sin(angles), np.cos(angles)]) @ p["position/kernel"]
                    scores[s] = (q[t, part] + p["content_bias"][h]) @ k[s, part]
                    scores[s] += (q[t, part] + p["position_bias"][h]) @ r[part]
            weights = np.exp(scores / np.sqrt(size))
            weights /= weights.sum()
            out[t, part] = sum(weights[s] * v[s, part] for s in range(length))
    return out @ p["out/kernel"] + p["out/bias"]


def dense(rng, p, name, inputs, outputs, bias=True):
    """Adds a random linear layer to the parameters `p`."""
    p[f"{name}/kernel"] = rng.normal(0, inputs**-0.5, (inputs, outputs))
    if bias:
        p[f"{name}/bias"] = rng.normal(0, 0.3, outputs)


def attention_parameters(rng, width, heads, clip, prefix=""):
    """Random parameters of relative attention."""
    p = {}
    for name in ("query", "key", "value", "out"):
        dense(rng, p, name, width, width)
    size = width // heads
    if clip:
        p["distance"] = rng.normal(0, 0.5, (2 * clip + 1, size))
    else:
        dense(rng, p, "position", width, width, bias=False)
        p["content_bias"] = rng.normal(0, 0.5, (heads, size))
        p["position_bias"] = rng.normal(0, 0.5, (heads, size))
    return {prefix + k: v for k, v in p.items()}


def attention():
    """Both kinds of relative positions; two utterances, one of them padded."""
    rng = np.random.default_rng(1)
    x, length = rng.normal(0, 1, (2, 7, 8)), np.array([7, 4], np.int32)
    for name, clip in (("sinusoids", 0), ("clipped", 2)):
        p = attention_parameters(rng, 8, 2, clip)
        out = [relative_attention(x[b], length[b], p, 2, clip) for b in range(2)]
        save(
            f"attention_{name}", x=x, length=length, out=out, **{f"p/{k}": v for k, v in p.items()}
        )


def sigmoid(x):
    """Logistic function."""
    return 1 / (1 + np.exp(-x))


NORMS = (
    "first/norm",
    "attention_norm",
    "convolution/norm",
    "convolution/middle",
    "second/norm",
    "norm",
)


def conformer():
    """Conformer blocks (arXiv 2005.08100), LayerNorm in the convolution, kernels even and odd."""
    for name, kernel, causal in (("block", 5, False), ("causal_block", 4, True)):
        rng = np.random.default_rng(2)
        width, ffn_dim, heads = 8, 12, 2
        p = attention_parameters(rng, width, heads, 0, "attention/")
        for at in NORMS:
            p[f"{at}/scale"], p[f"{at}/bias"] = rng.normal(1, 0.3, width), rng.normal(0, 0.3, width)
        for half in ("first", "second"):
            dense(rng, p, f"{half}/up", width, ffn_dim)
            dense(rng, p, f"{half}/down", ffn_dim, width)
        for part in ("value", "gate", "out"):
            dense(rng, p, f"convolution/{part}", width, width)
        p["convolution/kernel"] = rng.normal(0, 0.5, (kernel, width))

        def norm(x, at):
            centred = x - x.mean(-1, keepdims=True)
            scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
            return scaled * p[f"{at}/scale"] + p[f"{at}/bias"]

        def linear(x, at):
            return x @ p[f"{at}/kernel"] + p[f"{at}/bias"]

        def feedforward(x, at):
            hidden = linear(norm(x, f"{at}/norm"), f"{at}/up")
            return linear(hidden * sigmoid(hidden), f"{at}/down")

        def convolution(x):
            frames = len(x)
            x = norm(x, "convolution/norm")
            x = linear(x, "convolution/value") * sigmoid(linear(x, "convolution/gate"))
            past = kernel - 1 if causal else kernel // 2
            y = np.zeros_like(x)
            for t in range(frames):
                for k in range(kernel):
                    if 0 <= t + k - past < frames:
                        y[t] += p["convolution/kernel"][k] * x[t + k - past]
            y = norm(y, "convolution/middle")
            return linear(y * sigmoid(y), "convolution/out")

        own = {k.removeprefix("attention/"): v for k, v in p.items()}
        x, length = rng.normal(0, 1, (2, 9, width)), np.array([9, 5], np.int32)
        out = np.zeros_like(x)
        for b in range(2):
            y = x[b, : length[b]]  # no padding here: the reference knows only the utterance
            y = y + 0.5 * feedforward(y, "first")
            y = y + relative_attention(norm(y, "attention_norm"), len(y), own, heads, 0)
            y = y + convolution(y)
            y = y + 0.5 * feedforward(y, "second")
            out[b, : length[b]] = norm(y, "norm")
        save(
            f"conformer_{name}", x=x, length=length, out=out, **{f"p/{k}": v for k, v in p.items()}
        )


def losses():
    """PyTorch's CTC and cross-entropy in float64, with their gradients."""
    rng = np.random.default_rng(3)
    logits = torch.tensor(rng.normal(0, 2, (4, 12, 6)), requires_grad=True)
    frames, lengths = torch.tensor([12, 9, 12, 5]), torch.tensor([4, 3, 5, 1])
    ids = torch.tensor([[1, 2, 2, 3, 0], [5, 5, 5, 0, 0], [1, 2, 3, 4, 5], [4, 0, 0, 0, 0]])
    logprobs = logits.log_softmax(-1).transpose(0, 1)
    nll = torch.nn.functional.ctc_loss(logprobs, ids, frames, lengths, reduction="none")
    nll.sum().backward()
    integers = dict(ids=ids, frames=frames, ids_length=lengths)
    integers = {k: v.numpy().astype(np.int32) for k, v in integers.items()}
    save("ctc", logits=logits.detach(), nll=nll.detach(), gradient=logits.grad, **integers)

    logits = torch.tensor(rng.normal(0, 3, (2, 5, 7)), requires_grad=True)
    targets = torch.tensor(rng.integers(0, 7, (2, 5)))
    weights = torch.tensor([[1.0, 1, 1, 0, 0], [0.5, 1, 1, 1, 1]], dtype=torch.float64)
    nll = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), reduction="none"
    )
    total = (nll * weights.flatten()).sum()
    total.backward()
    save(
        "cross_entropy",
        logits=logits.detach(),
        targets=targets.numpy().astype(np.int32),
        weights=weights,
        total=total.detach(),
        gradient=logits.grad,
    )


def saved(config, folder):
    """Has transformers save a random model; config.json as a dict, and {tensor: shape}."""
    getattr(transformers, config.architectures[0])(config).save_pretrained(folder)
    with safe_open(folder / "model.safetensors", "np") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in list(file.keys())}
    settings = json.loads((folder / "config.json").read_text())
    settings.pop("transformers_version")
    return settings, dict(sorted(shapes.items()))


def foreign_models():
    """Logits and answers of transformers' models with the weights of tests/foreign.py."""
    (FOLDER / "foreign").mkdir(exist_ok=True)
    for name, make in foreign.MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            foreign.tokenizer(folder)
            settings, shapes = saved(make(foreign.ids(folder)), folder)
            foreign.write(folder, settings, shapes)
            found = foreign.reference(folder)
        about = dict(config=settings, tensors=shapes)
        (FOLDER / f"foreign/{name}.json").write_text(json.dumps(about, indent=1) + "\n")
        save(f"foreign/{name}", **found)


def main():
    """All files."""
    foreign_models()
    log_mel()
    attention()
    conformer()
    losses()


if __name__ == "__main__":
    main()
