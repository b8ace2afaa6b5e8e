"""Random-projection quantiser (BEST-RQ, arXiv 2202.01855): labels for the first SSL iteration.

Dims: B batch, T mel frames, F mel bins, R frames of a stack, C code width, K codes.
"""

from flax import nnx
import jax
import jax.numpy as jnp

from seedasr_jax import shapes


def stack(mel, length, size):
    """Mel frames, normalised, side by side: [B T F] -> [B ceil(T/size) size*F], [B] real stacks.

    Zero mean and unit variance per utterance and bin, whatever norm the encoder hears: without it
    nearly all frames fall on few codes.
    """
    dims = shapes.check(mel, "B T F")
    shapes.check(length, "B", dims)
    real = jnp.maximum(length, 1).astype(jnp.float32)[:, None, None]
    x = shapes.zero_padding(mel.astype(jnp.float32), length)
    x = shapes.zero_padding(x - x.sum(1, keepdims=True) / real, length)
    x = x * jax.lax.rsqrt((x * x).sum(1, keepdims=True) / real + 1e-5)
    x = jnp.pad(x, ((0, 0), (0, -dims["T"] % size), (0, 0)))
    return x.reshape(dims["B"], -1, size * dims["F"]), -(-length // size)


class RandomProjection(nnx.Module):
    """Labels of stacked mel frames, at the rate of an encoder that subsamples by `size`.

    z = argmin_i |c_i / |c_i| - A x / |A x||, which is the largest cosine. A (Xavier) and the codes
    c (standard normal) are drawn once and never train.
    """

    def __init__(self, mels, *, size, codes, width, rngs):
        self.size = size
        project = nnx.initializers.glorot_uniform()(rngs.params(), (size * mels, width))
        codebook = jax.random.normal(rngs.params(), (codes, width))
        self.project = nnx.Param(project, axes=("patch", "code"))
        self.codebook = nnx.Param(codebook, axes=("codes", "code"))

    def __call__(self, mel, length):
        """[B T F] mel of [B] real frames -> [B ceil(T/R)] int32, 0 at padding; [B] real ones."""
        x, length = stack(mel, length, self.size)
        codebook = self.codebook[...]
        codebook = codebook / jnp.linalg.norm(codebook, axis=-1, keepdims=True)
        # The length of a projected frame changes no order: only the codes' is divided out.
        with jax.default_matmul_precision("highest"):
            cosine = (x @ self.project[...]) @ codebook.T  # [B T/R K]
        return shapes.zero_padding(jnp.argmax(cosine, -1).astype(jnp.int32), length), length
