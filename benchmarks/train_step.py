"""Benchmark of a training step of stage `sft`, from waves to update, against PyTorch.

    make bench
    python benchmarks/train_step.py --size=bench --train=speech

Prints a JSON line each for `train_step`, `audio_seconds_per_second`, `mfu` and `peak_memory`. Ours
is the step of training, including log-mel; the peer (peers/pytorch.py, extra `bench`) computes
log-mel too. Each runs in a separate process on two cores, and they step in turn; the faster of
eager mode and torch.compile is the peer. `--size=600m_1.7b --peer=none` is for a GPU.
"""

import argparse
import contextlib
import json
import statistics
import sys

import sizes
import turns

MODES = ("eager", "compiled")
ALIKE = 0.02  # maximum relative difference in the number of parameters


def check_counts(ours: dict, theirs: dict):
    """Raises ValueError if the peer is larger or smaller."""
    for key in ("parameters", "trained"):
        if abs(theirs[key] / ours[key] - 1) > ALIKE:
            raise ValueError(
                f"{key}: expected the peer's within {ALIKE:.0%} of our {ours[key]:,}, found"
                f" {theirs[key]:,}; change the peer to the same size"
            )


def check_learning(name: str, losses: list[float]):
    """Raises ValueError if the loss on the single batch did not fall."""
    if not losses[-1] < losses[0]:
        raise ValueError(f"{name}: expected a falling loss, found {losses}; check its optimiser")


def take_turns(workers: dict, warm_up: int, repetitions: int) -> dict[str, list[float]]:
    """Durations in seconds of the measured steps of each worker."""
    for worker in workers.values():
        worker.step(warm_up)
    seconds = {name: [] for name in workers}
    for _ in range(repetitions):
        for name, worker in workers.items():
            seconds[name] += worker.step(1)
    for name, worker in workers.items():
        check_learning(name, worker.losses)
    return seconds


def rows(size: sizes.Size, workers: dict, seconds: dict[str, list[float]]) -> list[dict]:
    """The printed rows, without the keys that are common to all."""
    facts = workers["ours"].facts
    median = {name: statistics.median(each) for name, each in seconds.items()}
    memory = {name: worker.memory_gib() for name, worker in workers.items()}
    peer = min((name for name in workers if name != "ours"), key=median.get, default=None)
    work = {"audio_seconds_per_second": size.rows * size.seconds}
    work["mfu"] = facts["flops"] / facts["peak_flops"]
    units = {"audio_seconds_per_second": "s/s", "mfu": "fraction"}
    rates = {key: ("flops", "peak_flops", "peak_from") if key == "mfu" else () for key in work}

    def row(name, of, unit, less_is_better, raw):
        theirs = None if peer is None else of[peer]
        ratio = None
        if peer:
            ratio = theirs / of["ours"] if less_is_better else of["ours"] / theirs
        value = dict(name=name, value=of["ours"], unit=unit, peer=peer and f"pytorch {peer}")
        return value | dict(peer_value=theirs, ratio=ratio, raw=raw)

    def per_second(key):
        of = {name: work[key] / one for name, one in median.items()}
        raw = {name: [work[key] / one for one in each] for name, each in seconds.items()}
        return row(key, of, units[key], False, raw | {fact: facts[fact] for fact in rates[key]})

    return [
        row("train_step", median, "s", True, seconds),
        *map(per_second, work),
        row("peak_memory", memory, "GiB", True, {name: [one] for name, one in memory.items()}),
    ]


def main():
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=sizes.SIZES, default="bench")
    parser.add_argument("--train", choices=sizes.TRAINS, default="speech")
    parser.add_argument("--peer", choices=("pytorch", "none"), default="pytorch")
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--warm-up", type=int, default=2)
    options = parser.parse_args()
    size = sizes.SIZES[options.size]
    if options.peer != "none" and not size.threads:
        parser.error(f"--size={options.size}: the peer runs on CPUs only; add --peer=none")
    with contextlib.ExitStack() as stack:

        def start(module, *more):
            return stack.enter_context(turns.Worker(module, options.size, options.train, *more))

        workers = {"ours": start("our_step")}
        if options.peer != "none":
            workers |= {mode: start("peers.pytorch", mode) for mode in MODES}
        counts = {name: worker.facts["parameters"] for name, worker in workers.items()}
        print(f"parameters: {counts}", file=sys.stderr)
        for mode in workers.keys() - {"ours"}:
            check_counts(workers["ours"].facts, workers[mode].facts)
        seconds = take_turns(workers, options.warm_up, options.repetitions)
        versions = {k: v for one in workers.values() for k, v in one.facts["versions"].items()}
        common = dict(size=options.size, train=options.train, parameters=counts, versions=versions)
        common["device"] = workers["ours"].facts["device"]
        for row in rows(size, workers, seconds):
            print(json.dumps(row | common))


if __name__ == "__main__":
    main()
