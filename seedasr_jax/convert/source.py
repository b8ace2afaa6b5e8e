"""A folder of another project's model: config.json, *.safetensors, and the files beside them.

Nothing here runs code of the folder, and no pickle is opened.
"""

import dataclasses
import functools

from etils import epath

from seedasr_jax import workdir as disk
from seedasr_jax.checkpoint import tensors
from seedasr_jax.errors import ConfigError, UserError, nearest

CONFIG = "config.json"
_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
# What is kept for an export into the same format, beside config.json and tensors.
KEPT = (
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "merges.txt",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
)


@dataclasses.dataclass(frozen=True)
class Source:
    """An opened folder."""

    folder: epath.Path
    config: dict  # the content of config.json
    architecture: str

    @functools.cached_property
    def tensors(self) -> dict[str, tensors.Tensor]:
        """{name: Tensor} of all weights.

        Raises:
            UserError: no safetensors, a shard is missing or damaged, or the index disagrees.
        """
        names = _files(self.folder)
        found = tensors.index(self.folder, names)
        path = self.folder / _INDEX
        if path.exists():
            for name, file in disk.read_json(path)["weight_map"].items():
                if name not in found or found[name].path.name != file:
                    raise UserError(f"{path}: {name} is not in {file}; download the folder again")
        return found

    @property
    def files(self) -> list[epath.Path]:
        """config.json, the tokenizer and all other files that are kept, and those of tensors."""
        stored = sorted({tensor.path for tensor in self.tensors.values()})
        return [self.folder / CONFIG, *self.kept, *stored]

    @property
    def kept(self) -> list[epath.Path]:
        """The files to keep beside config.json."""
        return [path for name in KEPT if (path := self.folder / name).exists()]

    def read(self, name: str) -> dict:
        """The JSON object of a file; {} if there is none."""
        path = self.folder / name
        return disk.read_json(path) if path.exists() else {}


def open_source(folder, known) -> Source:
    """Opens a folder of one of the `known` architectures.

    Raises:
        ConfigError: no such folder, no config.json, an architecture that is not known or needs
            code of the folder.
    """
    folder = epath.Path(folder)
    if not (folder / CONFIG).exists():
        siblings = [p.name for p in folder.parent.iterdir()] if folder.parent.is_dir() else ()
        near = "" if folder.is_dir() else nearest(folder.name, siblings)
        raise ConfigError(
            f"{folder}: expected a folder with {CONFIG} and *.safetensors, as transformers'"
            f" save_pretrained writes; found {'no ' + CONFIG if folder.is_dir() else 'none'}.{near}"
        )
    config = disk.read_json(folder / CONFIG)
    named = config.get("architectures")
    if not (isinstance(named, list) and len(named) == 1 and isinstance(named[0], str)):
        raise ConfigError(
            f"{folder / CONFIG}: expected architectures with one name, found {named!r}"
        )
    if "auto_map" in config:
        raise ConfigError(
            f"{folder / CONFIG}: {named[0]} needs code of its folder (auto_map, trust_remote_code),"
            f" which is never run; known architectures: {', '.join(known)}"
        )
    if named[0] not in known:
        raise ConfigError(
            f"{folder / CONFIG}: unknown architecture {named[0]!r}: expected one of"
            f" {', '.join(known)}.{nearest(named[0], known)}"
        )
    return Source(folder, config, named[0])


def _files(folder) -> list[str]:
    """Names of the safetensors files that hold the model."""
    if (folder / _INDEX).exists():
        path = folder / _INDEX
        files = disk.read_json(path).get("weight_map")
        if not (isinstance(files, dict) and all(isinstance(f, str) for f in files.values())):
            raise UserError(f"{path}: expected a weight_map of tensors to files")
        names = sorted(set(files.values()))
        for name in names:
            if name != epath.Path(name).name:
                raise UserError(f"{path}: expected names of files beside it, found {name!r}")
            if not (folder / name).exists():
                raise UserError(f"{folder}: {name} is missing; {_INDEX} lists it: download it")
        return names
    if (folder / _SINGLE).exists():
        return [_SINGLE]
    names = sorted(path.name for path in folder.glob("*.safetensors"))
    pickles = sorted(p.name for p in folder.iterdir() if p.suffix in _PICKLES)
    if not names and pickles:
        raise UserError(
            f"{folder}: expected *.safetensors, found {pickles[0]}: a pickle may run code and is"
            " never opened; convert it with transformers' save_pretrained in a safe place"
        )
    return names
