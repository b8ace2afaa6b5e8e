"""The command `seedasr train` that every place starts."""

from collections.abc import Sequence
import dataclasses


@dataclasses.dataclass(frozen=True)
class Training:
    """The flags of `seedasr train`, as given to `launch`."""

    workdir: str
    config: str = ""  # empty: the workdir's
    stage: str = ""  # empty: all
    again: str = ""  # a stage to run again; empty: none
    overrides: Sequence[tuple[str, str]] = ()  # (key, text)

    def arguments(self, *, again: bool) -> list[str]:
        """Arguments of `seedasr`; `again`: whether with --from, which only the first try takes."""
        flags = {"workdir": self.workdir, "config": self.config, "stage": self.stage}
        flags |= {"from": self.again if again else ""}
        flags |= {f"config.{key}": text for key, text in self.overrides}
        given = {name: text for name, text in flags.items() if text or name.startswith("config.")}
        return ["train", *(f"--{name}={text}" for name, text in given.items())]
