"""The peer of train_step.py: the same step in PyTorch, from layers of transformers.

    python -m peers.pytorch bench speech eager

Waves to log-mel (torch.stft), two convolutions, `Wav2Vec2Conformer` layers with relative positions,
a linear splice, `Qwen3ForCausalLM` by inputs_embeds; AdamW (fused), clipped. It assumes batches
without padding, so its only mask is the causal one. transformers' Conformer has BatchNorm where
ours has LayerNorm, and fewer biases.

Dims: B batch, S samples, T frames, F mel bins, R bins of the spectrum, E decoder width, L tokens.
"""

import importlib.metadata
import sys

import sizes
import torch
from torch import nn
import transformers
from transformers.models.wav2vec2_conformer import modeling_wav2vec2_conformer as conformer
import turns

WINDOW, HOP, FFT = 400, 160, 512  # samples: 25 ms, 10 ms
LOW_HZ, HIGH_HZ = 20.0, 7600.0
FLOOR = 1e-5
START, END, FIRST = 1, 2, 3  # ids; words have ids from FIRST on


def filters(mels: int) -> torch.Tensor:
    """[R F] triangles, equally spaced in mel (HTK)."""
    low, high = (2595.0 * torch.log10(torch.tensor(1.0 + f / 700.0)) for f in (LOW_HZ, HIGH_HZ))
    edges = 700.0 * (10.0 ** (torch.linspace(low.item(), high.item(), mels + 2) / 2595.0) - 1.0)
    bins = torch.arange(FFT // 2 + 1)[:, None] * (sizes.RATE / FFT)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    slopes = (bins - left) / (centre - left), (right - bins) / (right - centre)
    return torch.minimum(*slopes).clamp(min=0.0)


class Front(nn.Module):
    """Waves [B S] -> [B T/4 D]: log-mel of mean 0 and variance 1, two strided convolutions."""

    def __init__(self, size: sizes.Size):
        super().__init__()
        channels, bins = size.encoder["channels"], -(-size.mels // 4)
        self.register_buffer("window", torch.hann_window(WINDOW))
        self.register_buffer("bank", filters(size.mels))
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, channels, 3, 2, 1), nn.ReLU(), nn.Conv2d(channels, channels, 3, 2, 1)
        )
        self.out = nn.Linear(bins * channels, size.encoder["width"])
        self.norm = nn.LayerNorm(size.encoder["width"])

    def forward(self, wave):
        padded = nn.functional.pad(wave, (0, FFT - HOP))
        spectrum = torch.stft(
            padded, FFT, HOP, WINDOW, self.window, center=False, return_complex=True
        )
        x = torch.log(spectrum.abs().square().transpose(1, 2) @ self.bank + FLOOR)
        x = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True) + FLOOR).sqrt()
        x = torch.relu(self.convolutions(x[:, None]))
        return self.norm(self.out(x.transpose(1, 2).flatten(2)))


def encoder(shape: dict) -> nn.Module:
    """The Conformer layers, without the positional convolution, unused with relative positions."""
    none = dict.fromkeys(
        (
            *("hidden_dropout", "activation_dropout", "attention_dropout"),
            *("conformer_conv_dropout", "layerdrop"),
        ),
        0.0,
    )
    layers = conformer.Wav2Vec2ConformerEncoder(
        transformers.Wav2Vec2ConformerConfig(
            hidden_size=shape["width"],
            num_hidden_layers=shape["layers"],
            num_attention_heads=shape["heads"],
            intermediate_size=shape["ffn_dim"],
            conv_depthwise_kernel_size=shape["kernel"],
            position_embeddings_type="relative",
            hidden_act="swish",
            **none,
        )
    )
    del layers.pos_conv_embed
    return layers


def decoder(shape: dict) -> nn.Module:
    """The language model."""
    config = transformers.Qwen3Config(
        num_hidden_layers=shape["layers"],
        hidden_size=shape["width"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["kv_heads"],
        head_dim=shape["head_dim"],
        intermediate_size=shape["ffn_dim"],
        vocab_size=shape["vocabulary"],
        tie_word_embeddings=shape["tied"],
        use_cache=False,
    )
    return transformers.Qwen3ForCausalLM(config)


class Recogniser(nn.Module):
    """Front, encoder, converter, decoder."""

    def __init__(self, size: sizes.Size):
        super().__init__()
        self.splice = size.splice
        self.front, self.encoder = Front(size), encoder(size.encoder)
        widths = size.splice * size.encoder["width"], size.decoder["width"]
        self.converter, self.decoder = nn.Linear(*widths), decoder(size.decoder)

    def forward(self, wave, given, wanted):
        """Nll per token, from [B S], [B L+1] with the start token, [B L+1] with the end token."""
        x = self.encoder(self.front(wave)).last_hidden_state
        x = nn.functional.pad(x, (0, 0, 0, -x.shape[1] % self.splice))
        x = self.converter(x.reshape(x.shape[0], -1, self.splice * x.shape[2]))
        x = torch.cat([x, self.decoder.get_input_embeddings()(given)], 1)
        logits = self.decoder(inputs_embeds=x, logits_to_keep=given.shape[1]).logits
        return nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten())


def prepare(size: sizes.Size, trains: tuple[str, ...], mode: str):
    """The facts and the step that turns.serve expects."""
    torch.manual_seed(0)
    model = Recogniser(size).train()
    for part, module in model.named_children():
        module.requires_grad_((part if part != "front" else "encoder") in trains)
    learned = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        learned,
        lr=sizes.LR,
        betas=sizes.BETAS,
        eps=sizes.EPSILON,
        weight_decay=sizes.WEIGHT_DECAY,
        fused=True,
    )
    wave = 0.1 * torch.randn(size.rows, round(size.seconds * sizes.RATE))
    words = torch.randint(FIRST, size.decoder["vocabulary"], (size.rows, size.tokens))
    given, wanted = (
        nn.functional.pad(words, (1, 0), value=START),
        nn.functional.pad(words, (0, 1), value=END),
    )
    loss_of = torch.compile(model) if mode == "compiled" else model

    def take():
        optimiser.zero_grad(set_to_none=True)
        loss = loss_of(wave, given, wanted)
        loss.backward()
        nn.utils.clip_grad_norm_(learned, sizes.CLIP)
        optimiser.step()
        return loss.item()

    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "trained": sum(p.numel() for p in learned),
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "transformers")},
    }, take


def main():
    """Serves steps."""
    _, name, trains, mode = sys.argv
    size = sizes.SIZES[name]
    turns.keep_cores(size.threads)
    torch.set_num_threads(size.threads)
    turns.serve(lambda: prepare(size, sizes.TRAINS[trains], mode))


if __name__ == "__main__":
    main()
