"""TPU pods by name, and the rates of their chips: `parse("v5p:4x4x8")` has 128 chips on 32 hosts.

All figures are the vendor's; nothing is fitted.
"""

import dataclasses
import math
import re

from seedasr_jax.errors import ConfigError, nearest
from seedasr_jax.parallel import memory


@dataclasses.dataclass(frozen=True)
class Chip:
    """A TPU generation: the vendor's figures for one chip."""

    name: str
    kind: str  # `device_kind` of its devices
    flops: float  # bfloat16, per second
    hbm_bandwidth: float  # bytes per second
    ici_bandwidth: float  # bytes per second over all links, both directions
    dcn_bandwidth: float  # bytes per second, each direction
    dims: int  # of the torus; a chip has two links in each
    devices: int  # JAX devices per chip
    cores: int  # cores per chip, which the accelerator type counts: v5p-256 has 128 chips
    chips_per_host: int
    shapes: tuple[tuple[int, ...], ...]  # usual slices, for a name that states a count

    @property
    def hbm_bytes(self) -> int:
        """HBM of a chip: of all its devices."""
        return memory.HBM[self.kind] * self.devices


_FLAT = ((1, 1), (2, 2), (2, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16))
_CUBES = (
    *((2, 2, 1), (2, 2, 2), (2, 2, 4), (2, 4, 4), (4, 4, 4), (4, 4, 8), (4, 8, 8), (8, 8, 8)),
    *((8, 8, 16), (8, 16, 16), (16, 16, 16), (16, 16, 24)),
)

# docs.cloud.google.com/tpu/docs/{v5e, v5p, v6e, tpu7x}, read in November 2026; memory is in
# parallel/memory.py. DCN of v5e: two network cards of 100 Gb/s for the eight chips of a host.
CHIPS = {
    chip.name: chip
    for chip in (
        Chip("v5e", "TPU v5 lite", 197e12, 819e9, 400e9, 25e9 / 8, 2, 1, 1, 8, _FLAT),
        Chip("v5p", "TPU v5", 459e12, 2765e9, 1200e9, 50e9 / 8, 3, 1, 2, 4, _CUBES),
        Chip("v6e", "TPU v6 lite", 918e12, 1638e9, 800e9, 100e9 / 8, 2, 1, 1, 4, _FLAT),
        Chip("tpu7x", "TPU7x", 2307e12, 7380e9, 1200e9, 100e9 / 8, 3, 2, 2, 4, _CUBES),
    )
}


@dataclasses.dataclass(frozen=True)
class Topology:
    """Slices of one shape; ICI inside each, DCN between them."""

    chip: Chip
    shape: tuple[int, ...]
    slices: int

    @property
    def name(self) -> str:
        """Generation and shape of a slice, such as v5p:4x4x8."""
        return f"{self.chip.name}:{'x'.join(map(str, self.shape))}"

    @property
    def chips(self) -> int:
        """Number of chips in all slices."""
        return math.prod(self.shape) * self.slices

    @property
    def device_count(self) -> int:
        """Number of JAX devices in all slices."""
        return self.chips * self.chip.devices

    @property
    def hosts(self) -> int:
        """Number of host machines of all slices."""
        return -(-math.prod(self.shape) // self.chip.chips_per_host) * self.slices


def ladder(chip: Chip, counts=(64, 256, 1024, 4096)) -> list[Topology]:
    """Pods with these numbers of chips; several slices where the largest slice is too small."""
    found = []
    for count in counts:
        whole = (shape for shape in chip.shapes if count % math.prod(shape) == 0)
        shape = max(whole, key=math.prod)
        found.append(Topology(chip, shape, count // math.prod(shape)))
    return found


def parse(text: str, slices: int = 1) -> Topology:
    """A topology from its shape, v5p:4x4x8, or its accelerator type, v5p-256.

    Raises:
        ConfigError: there is no such generation, or it has no such shape or count.
    """
    found = re.fullmatch(r"([a-z0-9]+?)(?:litepod)?(?::(\d+(?:x\d+)*)|-(\d+))", text)
    name = {"v5": "v5e", "7x": "tpu7x"}.get(found[1], found[1]) if found else ""
    if name not in CHIPS:
        raise ConfigError(
            f"topology {text!r}: expected one of {', '.join(CHIPS)} and a shape or a count, such as"
            f" v5p:4x4x8 or v5p-256.{nearest(re.split('[:-]', text)[0], CHIPS)}"
        )
    chip = CHIPS[name]
    if slices < 1:
        raise ConfigError(f"slices: expected at least 1, found {slices}")
    if found[2]:
        shape = tuple(map(int, found[2].split("x")))
        if len(shape) != chip.dims or not all(shape):
            like = f"{name}:{'x'.join(map(str, chip.shapes[-2]))}"
            raise ConfigError(
                f"topology {text!r}: expected {chip.dims} positive dimensions for {name}, such as"
                f" {like}"
            )
        return Topology(chip, shape, slices)
    known = {math.prod(shape) * chip.cores: shape for shape in chip.shapes}
    if int(found[3]) not in known:
        counts = ", ".join(map(str, known))
        raise ConfigError(
            f"topology {text!r}: expected {name}- and one of {counts}; or state the shape, as in"
            f" {name}:{'x'.join(map(str, chip.shapes[-2]))}"
        )
    return Topology(chip, known[int(found[3])], slices)
