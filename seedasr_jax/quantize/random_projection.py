"""Random-projection quantiser (BEST-RQ, arXiv 2202.01855): labels for the first SSL iteration.

Dims: B batch, T mel frames, F mel bins, R frames of a stack, C code width, K codes.
"""

from flax import nnx
import jax
import jax.numpy as jnp

from seedasr_jax import shapes


def stack(mel, length, size):
    """Normalises and stacks mel frames: [B T F] -> [B ceil(T/size) size*F], [B] valid stacks.

    Each bin of an utterance has zero mean and unit variance, independently of the encoder's input
    normalisation: otherwise nearly all frames share few codes.
    """
    dims = shapes.check(mel, "B T F")
    shapes.check(length, "B", dims)
    count = jnp.maximum(length, 1).astype(jnp.float32)[:, None, None]
    x = shapes.zero_padding(mel.astype(jnp.float32), length)
    x = shapes.zero_padding(x - x.sum(1, keepdims=True) / count, length)
    x = x * jax.lax.rsqrt((x * x).sum(1, keepdims=True) / count + 1e-5)
    x = jnp.pad(x, ((0, 0), (0, -dims["T"] % size), (0, 0)))
    return x.reshape(dims["B"], -1, size * dims["F"]), -(-length // size)


class RandomProjection(nnx.Module):
    """Labels stacks of `size` mel frames, the frame rate of an encoder that subsamples by `size`.

    z = argmin_i |c_i / |c_i| - A x / |A x||, that is, the code of the largest cosine similarity. A
    (Xavier) and the codes c (standard normal) are drawn once and never trained.
    """

    def __init__(self, mels, *, size, codes, width, rngs):
        self.size = size
        project = nnx.initializers.glorot_uniform()(rngs.params(), (size * mels, width))
        codebook = jax.random.normal(rngs.params(), (codes, width))
        self.project = nnx.Param(project, axes=("patch", "code"))
        self.codebook = nnx.Param(codebook, axes=("codes", "code"))

    def __call__(self, mel, length):
        """[B T F] of [B] valid frames -> [B ceil(T/R)] int32, 0 at padding; [B] valid labels."""
        x, length = stack(mel, length, self.size)
        codebook = self.codebook[...]
        codebook = codebook / jnp.linalg.norm(codebook, axis=-1, keepdims=True)
        # Only codes are normalised: the norm of a projected frame does not change the argmax.
        with jax.default_matmul_precision("highest"):
            cosine = (x @ self.project[...]) @ codebook.T  # [B T/R K]
        return shapes.zero_padding(jnp.argmax(cosine, -1).astype(jnp.int32), length), length
