"""Costs of compiled programs: products, convolutions and collectives, against XLA."""

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
import pytest

from seedasr_jax import config
from seedasr_jax.parallel import mesh as meshes
from seedasr_jax.plan import costs, hlo, roofline, traffic

AXES = {"data": 2, "fsdp": 2, "tensor": 2, "expert": 1}


def program(function, *shapes, **options):
    compiled = jax.jit(function, **options).lower(*shapes).compile()
    return hlo.Module(compiled.as_text()), compiled


def floats(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def test_a_product_counts_for_each_iteration_of_its_loop():
    def function(x, kernels):
        return jax.lax.scan(lambda x, kernel: (x @ kernel, None), x, kernels)[0] @ kernels[0]

    found, _ = program(function, floats(16, 32), floats(5, 32, 32))
    assert costs.flops(found) == (5 + 1) * 2 * 16 * 32 * 32


@pytest.mark.parametrize(
    "options",
    [
        dict(window_strides=(1,), padding=((2, 2),)),
        dict(window_strides=(2,), padding=((0, 3),)),
        dict(window_strides=(1,), padding=((4, 4),), rhs_dilation=(2,)),
        dict(window_strides=(1,), padding=((4, 4),), lhs_dilation=(3,)),
        dict(window_strides=(1,), padding=((2, 2),), feature_group_count=4),
    ],
    ids=["same", "strided", "dilated", "transposed", "grouped"],
)
def test_convolutions_count_taps_inside(options):
    groups = options.get("feature_group_count", 1)

    def function(x, kernel):
        numbers = dict(dimension_numbers=("NWC", "WIO", "NWC"))
        return jax.lax.conv_general_dilated(x, kernel, **options, **numbers)

    found, compiled = program(function, floats(3, 20, 8), floats(5, 8 // groups, 12))
    counted = compiled.cost_analysis()["flops"]
    assert costs.flops(found) == pytest.approx(counted, rel=0.01)


def test_a_product_that_a_tpu_compiles_as_a_convolution_counts():
    text = """HloModule m, is_scheduled=true

ENTRY %main (x: f32[16,32], y: f32[32,64]) -> f32[16,64] {
  %x = f32[16,32]{1,0} parameter(0)
  %y = f32[32,64]{1,0} parameter(1)
  ROOT %c = f32[16,64]{1,0} convolution(%x, %y), dim_labels=bf_io->bf
}
"""
    assert costs.flops(hlo.Module(text)) == 2 * 16 * 32 * 64


def sharded(*spec, shape):
    mesh = meshes.make(config.Mesh(2, 2, 2, 1))
    return jax.ShapeDtypeStruct(
        shape, jnp.float32, sharding=NamedSharding(mesh, PartitionSpec(*spec))
    )


def test_collectives_by_axis_with_their_bytes():
    """x is gathered over tensor, three times in a loop; the product is summed over fsdp."""
    mesh = meshes.make(config.Mesh(2, 2, 2, 1))

    def local(x, y):
        def body(total, _):
            return total + jax.lax.all_gather(x * total.sum(), "tensor", tiled=True).sum(), None

        total, _ = jax.lax.scan(body, jnp.ones(()), None, length=3)
        return jax.lax.psum(y, "fsdp"), jax.lax.pmean(total, ("data", "tensor"))

    spec = PartitionSpec("tensor")
    function = jax.shard_map(
        local, mesh=mesh, in_specs=(spec, spec), out_specs=(spec, PartitionSpec()), check_vma=False
    )
    x = sharded("tensor", shape=(64, 10))
    found, _ = program(function, x, x)
    by = {}
    for one in costs.collectives(found, AXES):
        by.setdefault((one.kind, one.axes), []).append(one)
    (gathered,) = by["all-gather", ("tensor",)]
    assert (gathered.times, gathered.group, gathered.size) == (3, 2, 64 * 10 * 4)
    assert gathered.sent == 64 * 10 * 4 / 2
    (summed,) = by["all-reduce", ("fsdp",)]
    assert (summed.times, summed.size, summed.sent) == (1, 32 * 10 * 4, 32 * 10 * 4)
    assert ("all-reduce", ("data", "tensor")) in by


def test_a_reduce_scatter_is_sent_once():
    """libtpu writes a reduce-scatter as a fusion that slices the sum."""
    scattered, groups = "all-reduce-scatter.7.clone", "replica_groups={{0,1},{2,3},{4,5},{6,7}}"
    text = f"""HloModule x

%{scattered} (p: f32[8,128]) -> f32[4,128] {{
  %p = f32[8,128]{{1,0}} parameter(0)
  %sum = f32[8,128]{{1,0}} all-reduce(%p), channel_id=1, {groups}, to_apply=%add
  %zero = u32[] constant(0)
  ROOT %own = f32[4,128]{{1,0}} dynamic-slice(%sum, %zero, %zero), dynamic_slice_sizes={{4,128}}
}}

ENTRY %main (a: f32[8,128]) -> f32[4,128] {{
  %a = f32[8,128]{{1,0}} parameter(0)
  ROOT %b = f32[4,128]{{1,0}} fusion(%a), kind=kCustom, calls=%{scattered}
}}
"""
    (one,) = costs.collectives(hlo.Module(text), AXES)
    assert (one.kind, one.axes, one.size) == ("reduce-scatter", ("tensor",), 8 * 128 * 4)
    assert one.sent == 8 * 128 * 4 / 2


@pytest.mark.parametrize(
    ("kind", "where", "wanted"),
    [
        ("ALL_REDUCE", "{1,2}x{0:15}", ("all-reduce", 2, 1.0)),
        ("ALL_REDUCE", "{1:4}x{0:255}", ("all-reduce", 4, 1.5)),
        ("ALL_GATHER", "{1,3:4}x{0}", ("all-gather", 3, 2.0)),
        ("REDUCE_SCATTER", "{1:4}x{0:3}", ("reduce-scatter", 4, 0.75)),
    ],
)
def test_transfers_between_slices_are_read_from_their_attributes(kind, where, wanted):
    """libtpu has no collective over slices: each device sends its shard through its host."""
    attributes = (
        '_xla_host_transfer_handler_name="xla_megascale_runtime",'
        f'_xla_megascale_target="{where}",_xla_megascale_transfer_type="{kind}"'
    )
    text = f"""HloModule x

ENTRY %main (a: bf16[64,8,128]) -> bf16[64,8,128] {{
  %a = bf16[64,8,128]{{2,1,0:T(8,128)(2,1)}} parameter(0)
  %t = token[] after-all()
  %send = (bf16[64,8,128]{{2,1,0:T(8,128)(2,1)}}, u32[], token[]) send(%a, %t), channel_id=2, \
is_host_transfer=true, frontend_attributes={{{attributes}}}
  ROOT %b = bf16[64,8,128]{{2,1,0}} copy(%a)
}}
"""
    (one,) = costs.collectives(hlo.Module(text), AXES, 2)
    named, slices, share = wanted
    assert (one.kind, one.axes, one.slices) == (named, ("data",), slices)
    assert one.sent_dcn == one.sent == pytest.approx(share * 64 * 8 * 128 * 2)


def test_an_unknown_transfer_between_slices_is_an_error():
    text = """HloModule x

ENTRY %main (a: f32[8]) -> f32[8] {
  %a = f32[8]{0} parameter(0)
  %send = (f32[8]{0}, u32[], token[]) send(%a), frontend_attributes={x="xla_megascale_runtime",\
_xla_megascale_target="{1,2}x{0}",_xla_megascale_transfer_type="GOSSIP"}
  ROOT %b = f32[8]{0} copy(%a)
}
"""
    with pytest.raises(ValueError, match=r"transfer between slices of .*found GOSSIP"):
        costs.collectives(hlo.Module(text), AXES, 2)


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("replica_groups={{0,4},{1,5},{2,6},{3,7}}, dimensions={0}", [0, 4]),
        ("replica_groups={}, to_apply=%add", [0, 1, 2, 3, 4, 5, 6, 7]),
        ("replica_groups=[2,4]<=[8], dimensions={0}", [0, 1, 2, 3]),
        ("replica_groups=[4,2]<=[2,4]T(1,0), dimensions={0}", [0, 4]),
        ("replica_groups=mesh['a'=2,'b'=4] {'b'}, dimensions={1}", [0, 1, 2, 3]),
        ("replica_groups=mesh['a'=2,'b'=2,'c'=2] {'a','c'}, x", [0, 1, 4, 5]),
        ("replica_groups=mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'b'}, x", [0, 4]),
        ("source_target_pairs={{0,2},{2,4},{4,6},{6,0},{1,3}}", [0, 2, 4, 6]),
        ("source_target_pairs={{0,0},{1,1}}", []),
        ("channel_id=1", [0, 1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_groups_as_they_are_written(text, group):
    one = hlo.Instruction("x", "all-gather", (), (), "", ", channel_id=1, " + text, False)
    assert costs._group(one, 8) == group


def test_bytes_between_slices():
    one = costs.Collective("all-reduce", ("data",), group=8, slices=2, size=800.0, times=1)
    assert one.sent == 2 * 800 * 7 / 8
    assert one.sent_dcn == 2 * 800 / 4 * 1 / 2  # four chips of a slice share what crosses
    inside = costs.Collective("all-reduce", ("fsdp",), 4, 1, 800.0, 1)
    assert inside.sent_dcn == 0


def test_traffic_reads_slices_as_slices():
    def function(kernels, x):
        def body(x, kernel):
            return jnp.tanh(x * kernel), None

        return jax.lax.scan(body, x, kernels)[0]

    found, _ = program(function, floats(1_000, 64, 64), floats(64, 64))
    layer = 64 * 64 * 4
    assert 3 * 1_000 * layer <= traffic.hbm_bytes(found) < 8 * 1_000 * layer


def test_an_update_in_place_writes_the_update_only():
    """In a fusion of several results; a copy writes its result only."""
    text = """HloModule x

%fused (p: f32[36,8,128], q: f32[8,128], i: s32[]) -> (f32[36,8,128], f32[8,128]) {
  %p = f32[36,8,128]{2,1,0} parameter(0)
  %q = f32[8,128]{1,0} parameter(1)
  %i = s32[] parameter(2)
  %zero = s32[] constant(0)
  %made = f32[8,128]{1,0} negate(%q)
  %one = f32[1,8,128]{2,1,0} bitcast(%made)
  %all = f32[36,8,128]{2,1,0} dynamic-update-slice(%p, %one, %i, %zero, %zero)
  ROOT %both = (f32[36,8,128]{2,1,0}, f32[8,128]{1,0}) tuple(%all, %made)
}

ENTRY %main (a: f32[36,8,128], b: f32[8,128], i: s32[]) -> f32[8,128] {
  %a = f32[36,8,128]{2,1,0} parameter(0)
  %b = f32[8,128]{1,0} parameter(1)
  %i = s32[] parameter(2)
  %saved = (f32[36,8,128]{2,1,0}, f32[8,128]{1,0}) fusion(%a, %b, %i), kind=kLoop, calls=%fused
  %last = f32[8,128]{1,0} get-tuple-element(%saved), index=1
  %c = (f32[8,128]{1,0:S(1)}, f32[8,128]{1,0}, u32[]) copy-start(%last)
  ROOT %done = f32[8,128]{1,0:S(1)} copy-done(%c)
}
"""
    row = 8 * 128 * 4
    index = 4
    assert traffic.hbm_bytes(hlo.Module(text)) == (row + 2 * row + index) + row


@pytest.mark.parametrize(
    ("used", "share"),
    [
        ("f32[1,128]{1,0} slice(%moved), slice={[0:1], [0:128]}", 1 / 8),
        ("f32[8,128]{1,0} negate(%moved)", 1),
    ],
    ids=["in_part", "whole"],
)
@pytest.mark.parametrize("inside", [False, True], ids=["of_its_own", "of_a_fusion_inside"])
def test_a_fusion_reads_the_slices_that_it_uses_of_copied_operands(used, share, inside):
    made = used.split("{")[0]
    nested = f"{made} fusion(%moved), kind=kLoop, calls=%fused_inside"
    text = f"""HloModule x

%fused_inside (moved: f32[8,128]) -> {made} {{
  %moved = f32[8,128]{{1,0}} parameter(0)
  ROOT %r = {used}
}}

%fused_moves (p: f32[8,128]) -> f32[8,128] {{
  %p = f32[8,128]{{1,0}} parameter(0)
  ROOT %c = f32[8,128]{{0,1}} copy(%p)
}}

%fused (q: f32[8,128]) -> {made} {{
  %q = f32[8,128]{{1,0}} parameter(0)
  %moved = f32[8,128]{{0,1}} fusion(%q), kind=kLoop, calls=%fused_moves
  ROOT %used = {nested if inside else used}
}}

ENTRY %main (a: f32[8,128]) -> {made} {{
  %a = f32[8,128]{{1,0}} parameter(0)
  ROOT %b = {made} fusion(%a), kind=kLoop, calls=%fused
}}
"""
    assert traffic.hbm_bytes(hlo.Module(text)) == 2 * share * 8 * 128 * 4


@pytest.mark.parametrize("rows", ["3,4,256,64", "12,256,64"], ids=["batch", "one_example"])
def test_splash_kernels_count_unmasked_products(rows):
    target = 'custom_call_target="tpu_custom_call"'
    text = f"""HloModule x

ENTRY %main (a: s8[1,2,2], q: bf16[{rows}]) -> bf16[{rows}] {{
  %a = s8[1,2,2]{{2,1,0}} parameter(0)
  %q = bf16[{rows}]{{2,1,0}} parameter(1)
  ROOT %splash_mha_fwd_segmented.1 = bf16[{rows}]{{2,1,0}} custom-call(%a, %q), {target}
}}
"""
    assert roofline.splash_flops(hlo.Module(text)) == 12 * 2 * 2 * 256 * 256 * 64 / 2


@pytest.mark.parametrize(
    ("name", "operands", "made", "rows"),
    [
        ("jit_gmm__.1", ("bf16[4096,768]", "bf16[32,512,768]"), "bf16[4096,512]", 768 + 512),
        ("jit_tgmm__.1", ("bf16[4096,512]", "bf16[4096,768]"), "bf16[32,512,768]", 512 + 768),
    ],
)
def test_grouped_products_count_a_devices_share_of_the_rows(name, operands, made, rows):
    one, other = operands
    text = f"""HloModule x

ENTRY %main (a: s32[33], x: {one}, y: {other}) -> {made} {{
  %a = s32[33]{{0}} parameter(0)
  %x = {one}{{1,0}} parameter(1)
  %y = {other}{{1,0}} parameter(2)
  ROOT %{name} = {made}{{1,0}} custom-call(%a, %x, %y), custom_call_target="tpu_custom_call"
}}
"""
    program, mesh = hlo.Module(text), {"data": 2, "expert": 4}
    assert roofline.megablox_flops(program, mesh) == 2 * 4096 * 512 * 768 / 4
    moved = 32 * 512 * 768 * 2 + 4096 * rows * 2  # kernels and rows in bfloat16
    alone = 33 * 4
    assert traffic.hbm_bytes(program) == moved + alone
    assert roofline.megablox_unread_bytes(program, mesh) == 4096 * rows * 2 * 3 / 4
