"""One idea of a checkpoint: every form opens, references are followed, hand-over compares first."""

import dataclasses
import json
import shutil

from flax import nnx
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
import numpy as np
import pytest
import tiny
import workdirs

from seedasr_jax import checkpoint, config
from seedasr_jax import workdir as disk
from seedasr_jax.errors import ConfigError, UserError
from seedasr_jax.parallel import mesh as meshes
from seedasr_jax.parallel import rules, sharding


def graph(folder, stages):
    """Writes config.json."""
    settings = {"format_version": disk.FORMAT_VERSION, "name": "x", "imports": ["workdirs"]}
    (folder / "config.json").write_text(json.dumps(settings | {"stages": stages}))


@pytest.fixture
def workdir(tmp_path):
    """lm -> sft (decoder frozen), and a stage that is still running."""
    names = ("lm", "sft", "rl")
    graph(tmp_path, {n: {} for n in names})
    whole = workdirs.params(seed=1)
    reads = {"manifest:none.jsonl": "synth:x"}
    workdirs.finish(tmp_path, "lm", nnx.State({"decoder": whole["decoder"]}), step=40, reads=reads)
    decoder = checkpoint.open_checkpoint(tmp_path / "lm").reference("decoder", tmp_path)
    workdirs.finish(
        tmp_path,
        "sft",
        nnx.State({"encoder": workdirs.params(seed=2)["encoder"]}),
        parents={"decoder": decoder},
        frozen={"decoder": decoder},
    )
    workdirs.finish(
        tmp_path, "rl", nnx.State({"encoder": workdirs.params(seed=3)["encoder"]}), state="running"
    )
    return tmp_path


def test_every_form_of_a_checkpoint(workdir):
    by_workdir = checkpoint.open_checkpoint(workdir)  # rl is not finished
    assert (by_workdir.name, by_workdir.step) == ("sft", 5)
    digest = by_workdir.record.recipe_hash[:8]
    assert by_workdir.label == f"sft@5#{digest}"
    assert by_workdir.imports == ("workdirs",)
    assert by_workdir.stage.kind == "ctc"
    assert (by_workdir.vocab / "spm.model").exists()
    for form in (workdir / "sft", f"{workdir}/sft/", f"{workdir}/sft@5"):
        assert checkpoint.open_checkpoint(form) == by_workdir
    assert checkpoint.open_checkpoint(f"{workdir}/rl@5").name == "rl"  # a step of a running stage


@pytest.mark.parametrize(
    "form, message",
    [
        ("stf", r"no such checkpoint; expected a workdir.*Did you mean sft"),
        ("rl", r"not finished \(step 5 of 40\): resume it with `seedasr train --workdir=.*rl@5"),
        ("sft@6", r"no checkpoint of step 6; found: 5"),
        ("sft@\u00b2", "no such checkpoint"),
        ("loop/sft", "loop/sft: too many levels of symbolic links"),  # as of another user's folder
        ("vocab", r"neither config\.json nor stage\.json"),
    ],
)
def test_errors_say_why_a_path_cannot_be_opened(workdir, form, message):
    if not (workdir / "loop").is_symlink():
        (workdir / "loop").symlink_to("loop")
    with pytest.raises(UserError, match=message):
        checkpoint.open_checkpoint(workdir / form)


def test_a_config_of_another_form_is_named(workdir):
    path = workdir / "sft/stage.json"
    record = json.loads(path.read_text())
    del record["recipe"]["optim"]
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"sft/stage\.json: recipe\.optim is missing: this seedasr"):
        _ = checkpoint.open_checkpoint(workdir).stage
    graph(workdir, [1])
    with pytest.raises(UserError, match=r"config\.json\.stages: expected a group of keys"):
        checkpoint.open_checkpoint(workdir)


def test_workdir_without_a_finished_stage(tmp_path):
    graph(tmp_path, {"lm": {}, "ctc": {}})
    with pytest.raises(UserError, match=r"no stage is finished \(of lm, ctc\): resume with"):
        checkpoint.open_checkpoint(tmp_path)


def test_parts_are_loaded_through_references(workdir):
    opened = checkpoint.open_checkpoint(workdir)
    assert set(opened.parts()) == {"encoder", "decoder"}
    decoder = opened.load("decoder")
    assert isinstance(decoder["decoder"]["table"], np.ndarray)
    expected = {"decoder": workdirs.params(seed=1)["decoder"]}
    assert workdirs.bits(decoder) == workdirs.bits(expected)
    mesh = meshes.make(config.Mesh(1, 4, 2, 1))
    where = sharding.of_params(workdirs.params(), mesh)
    spread = opened.load("encoder", where)
    assert spread["encoder"]["kernel"].sharding.spec == PartitionSpec(None, rules.FSDP, "tensor")
    assert workdirs.bits(spread) == workdirs.bits({"encoder": workdirs.params(seed=2)["encoder"]})
    with pytest.raises(UserError, match=r"has no part 'encodr', found encoder, decoder.*encoder"):
        opened.load("encodr")
    assert opened.part_hash("decoder") == checkpoint.parameters_hash(expected)
    assert opened.reference("decoder", workdir)["checkpoint"] == "sft@5"
    assert opened.reference("decoder", workdir / "else")["checkpoint"] == f"{workdir}/sft@5"


def test_a_workdir_may_move(workdir):
    moved = workdir.rename(workdir.parent / "moved")
    assert checkpoint.open_checkpoint(moved).load("decoder")["decoder"].keys() == {"table"}


def test_relative_paths(workdir, monkeypatch):
    monkeypatch.chdir(workdir.parent)
    opened = checkpoint.open_checkpoint(f"{workdir.name}/sft")
    assert opened == checkpoint.open_checkpoint(workdir)
    assert opened.reference("encoder", workdir.name)["checkpoint"] == "sft@5"
    assert checkpoint.latest(f"{workdir.name}/sft") == 5


def test_a_parent_that_is_gone_or_changed_is_named_with_a_cure(workdir):
    moved = (workdir / "lm").rename(workdir / "lm.old-1")
    opened = checkpoint.open_checkpoint(workdir)
    begins = r"^sft@5#\w{8}: its frozen decoder \(hash \w{8}\) is no longer in \S*/lm@40"
    cure = r" `seedasr train --workdir=\S+ --from=lm`$"
    for ask in (opened.load, opened.shapes, opened.content_hash):
        with pytest.raises(UserError, match=rf"{begins} \(.*/lm: no such checkpoint.*{cure}"):
            ask("decoder")
    assert opened.lineage()[0]["parents"]["decoder"].startswith("lm@40 (hash ")
    other = nnx.State({"decoder": workdirs.params(seed=9)["decoder"]})
    workdirs.finish(workdir, "lm", other, step=40)
    with pytest.raises(
        UserError, match=rf"{begins}, which was trained again \(hash \w{{8}}\).*{cure}"
    ):
        opened.load("decoder")
    frozen = {"decoder": dict(opened.record.frozen["decoder"], checkpoint=f"{moved}@41")}
    elsewhere = dataclasses.replace(
        opened, record=dataclasses.replace(opened.record, frozen=frozen)
    )
    place = r"no checkpoint of step 41; found: 40.*--config\.stages\.sft\.init\.decoder=PATH`$"
    with pytest.raises(UserError, match=place):
        elsewhere.load("decoder")


def test_content_is_trusted_until_it_is_compared(workdir):
    """Bytes that differ from the recorded hash are read; `verify` raises."""
    record = checkpoint.read(workdir / "lm")
    shutil.rmtree(workdir / "lm")
    other = nnx.State({"decoder": workdirs.params(seed=9)["decoder"]})
    workdirs.finish(workdir, "lm", other, step=40, hashes=record.hashes)
    opened = checkpoint.open_checkpoint(workdir)
    assert workdirs.bits(opened.load("decoder")) == workdirs.bits({"decoder": other["decoder"]})
    says = r"decoder in .*/lm is damaged: expected hash \w{8}, as recorded, found \w{8}:"
    with pytest.raises(UserError, match=rf"{says}.*--workdir={workdir} --from=lm`$"):
        opened.verify("decoder", opened.content_hash("decoder"))
    opened.verify("encoder", opened.content_hash("encoder"))


def test_lineage(workdir):
    first, second = checkpoint.open_checkpoint(workdir).lineage()
    assert first["parents"] == {"decoder": second["checkpoint"]}
    assert second["checkpoint"].startswith("lm@40#")
    assert second["hours"] == {"manifest:none.jsonl": 1.5}


def test_hand_over(workdir):
    source = checkpoint.open_checkpoint(workdir)
    target = jax.eval_shape(lambda: workdirs.params(lora=True))  # adapters are a part of their own
    for part in ("encoder", "decoder"):
        tree = checkpoint.hand_over(
            source, part, target, model=source.stage.model, vocabulary=source.record.vocabulary
        )
        assert workdirs.bits(tree) == workdirs.bits(source.load(part))
        target = checkpoint.fill(target, tree)
    ones = nnx.State({"encoder": jax.tree.map(jnp.ones_like, workdirs.params())["encoder"]})
    workdirs.finish(workdir, "ones", ones)
    half = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, jnp.bfloat16), workdirs.params())
    tree = checkpoint.hand_over(checkpoint.open_checkpoint(workdir / "ones"), "encoder", half)
    assert tree["encoder"]["bias"].dtype == jnp.bfloat16  # the stage's type, not the file's


def test_hand_over_compares_before_it_loads(workdir, monkeypatch):
    source = checkpoint.open_checkpoint(workdir)
    monkeypatch.setattr(checkpoint.Checkpoint, "read", None)

    def refuses(part, message, tree=None, **options):
        tree = workdirs.params() if tree is None else tree
        with pytest.raises(
            ConfigError, match=rf"^init\.{part}=sft@5#\w{{8}}: .*{message}"
        ) as error:
            checkpoint.hand_over(source, part, tree, **options)
        assert "\n" not in str(error.value)

    wider = workdirs.params(width=32)
    refuses(
        "encoder",
        r"encoder\.kernel: expected \[3, 32, 8\], found \[3, 16, 8\]; make the models equal or set"
        r" init\.encoder=fresh",
        wider,
    )
    model = dataclasses.replace(source.stage.model, encoder=tiny.encoder(width=32))
    refuses("encoder", r"\(model\.encoder\.width: 16 -> 32", wider, model=model)
    fewer = {"encoder": {"bias": jnp.zeros(8)}}
    refuses("encoder", r"found encoder\.kernel \[3, 16, 8\], not expected", fewer)
    more = {"encoder": {"bias": jnp.zeros(8), "scale": jnp.zeros(8)}}
    refuses("encoder", r"expected encoder\.scale \[8\], not found", more)
    refuses(
        "decoder",
        r"the vocabulary differs: expected hash beef, this stage's, found \w+: set vocab\.path=",
        vocabulary="beef",
    )


def test_a_part_may_go_by_another_name(workdir):
    """An encoder becomes a teacher, and that another stage's encoder; the hash stays the same."""
    sft = checkpoint.open_checkpoint(workdir / "sft")
    reference = sft.reference("encoder", workdir, "teacher")
    assert reference == sft.reference("encoder", workdir) | {"part": "encoder"}
    decoder = nnx.State({"decoder": workdirs.params(seed=4)["decoder"]})
    workdirs.finish(
        workdir, "ssl2", decoder, parents={"teacher": reference}, frozen={"teacher": reference}
    )
    ssl2 = checkpoint.open_checkpoint(workdir / "ssl2")
    assert set(ssl2.parts()) == {"decoder", "teacher"}
    names = {f"teacher.{name.partition('.')[2]}" for name in sft.shapes("encoder")}
    assert set(ssl2.shapes("teacher")) == names
    expected = {"teacher": workdirs.params(seed=2)["encoder"]}
    assert workdirs.bits(ssl2.load("teacher")) == workdirs.bits(expected)
    mesh = meshes.make(config.Mesh(1, 4, 2, 1))
    abstract = {"teacher": workdirs.params()["encoder"], "decoder": workdirs.params()["decoder"]}
    where = sharding.of_params(nnx.State(abstract), mesh)
    tree = checkpoint.hand_over(sft, "teacher", nnx.State(abstract), where, source_part="encoder")
    assert tree["teacher"]["kernel"].sharding.spec == PartitionSpec(None, rules.FSDP, "tensor")
    assert workdirs.bits(tree) == workdirs.bits(expected)

    again = ssl2.reference("teacher", workdir, "encoder")
    workdirs.finish(
        workdir, "third", decoder, parents={"encoder": again}, frozen={"encoder": again}
    )
    third = checkpoint.open_checkpoint(workdir / "third")
    assert third.part_hash("encoder") == sft.part_hash("encoder")
    assert workdirs.bits(third.load("encoder")) == workdirs.bits(sft.load("encoder"))
    message = r"init\.teacher=ssl2@5#\w{8}:encodr: .*|has no part 'encodr'"
    with pytest.raises(UserError, match=message):
        checkpoint.hand_over(ssl2, "teacher", nnx.State(abstract), source_part="encodr")


def test_a_codebook_belongs_to_a_layer(workdir):
    source = checkpoint.open_checkpoint(workdir)
    quantizer = dataclasses.replace(source.stage.model.quantizer, layer=7)
    model = dataclasses.replace(source.stage.model, quantizer=quantizer)
    with pytest.raises(
        ConfigError, match=r"fitted with model\.quantizer\.layer=0, this stage has 7"
    ):
        checkpoint.hand_over(source, "codebook", workdirs.params(), model=model)
