"""Pods by name."""

import pytest

from seedasr_jax.errors import ConfigError
from seedasr_jax.plan import topologies


@pytest.mark.parametrize(
    ("text", "slices", "name", "chips", "devices", "hosts"),
    [
        ("v5p:4x4x8", 1, "v5p:4x4x8", 128, 128, 32),
        ("v5p-256", 1, "v5p:4x4x8", 128, 128, 32),
        ("v5p:8x8x8", 1, "v5p:8x8x8", 512, 512, 128),
        ("v5e:16x16", 4, "v5e:16x16", 1_024, 1_024, 128),
        ("v5e:2x2", 1, "v5e:2x2", 4, 4, 1),
        ("v5litepod-256", 1, "v5e:16x16", 256, 256, 32),
        ("v6e-256", 1, "v6e:16x16", 256, 256, 64),
        ("tpu7x:4x4x4", 1, "tpu7x:4x4x4", 64, 128, 16),
        ("tpu7x-128", 1, "tpu7x:4x4x4", 64, 128, 16),
    ],
)
def test_names(text, slices, name, chips, devices, hosts):
    found = topologies.parse(text, slices)
    assert (found.name, found.chips, found.device_count, found.hosts) == (
        *(name, chips, devices),
        hosts,
    )
    assert topologies.parse(found.name, slices) == found


@pytest.mark.parametrize(
    ("text", "slices", "message"),
    [
        ("v5q:4x4x8", 1, "v5p"),
        ("v5p", 1, "v5p:4x4x8 or v5p-256"),
        ("v5p:4x4", 1, "3 positive dimensions"),
        ("v5p:0x4x4", 1, "3 positive dimensions"),
        ("v6e-100", 1, "64, 128, 256"),
        ("v6e:16x16", 0, "at least 1"),
    ],
)
def test_errors_list_what_exists(text, slices, message):
    with pytest.raises(ConfigError, match=message):
        topologies.parse(text, slices)


def test_rates_of_a_chip_are_the_published_ones():
    """Links times their speed are the sum that is published; HBM per device divides."""
    for chip in topologies.CHIPS.values():
        assert chip.ici_bandwidth / (2 * 2 * chip.dims) in (50e9, 100e9)  # of a link, one way
        assert chip.hbm_bytes % chip.devices == 0
        assert all(len(shape) == chip.dims for shape in chip.shapes)
