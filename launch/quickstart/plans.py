"""The quickstart's evaluations: tests, stages and decodings of each recipe."""

_READ = ("sft", "context_sft", "rl")  # stages that read lists; `sft`: its `lm` trained on lists
_ALL = ("ctc", *_READ)
_FEW = "split=unseen_names&context=distractors_3&limit=80"
_BEAM = "beam4,alpha=6"  # as `commands` reads lists, but with pruning
PLANS = {  # by recipe
    # name, query behind synth:RECIPE?, stages, decoding ("": the stage's own)
    "digits": (
        ("test", "split=test", _ALL, ""),
        ("strings", "split=test&join=3-6&seed=0", _ALL, ""),
    ),
    "commands": (
        ("test", "split=test", _ALL, ""),
        ("test_distractors_3", "split=test&context=distractors_3&names=homophones", _ALL, ""),
        ("none", "split=homophones&context=none", _READ, ""),
        ("right_3", "split=homophones&context=right_3", _ALL, ""),
        ("wrong_3", "split=homophones&context=wrong_3", _READ, ""),
        ("distractors_3", "split=homophones&context=distractors_3", _ALL, ""),
        ("unseen_none", "split=unseen_names&context=none", _READ, ""),
        ("unseen_right_3", "split=unseen_names&context=right_3", _ALL, ""),
        ("unseen_distractors_3", "split=unseen_names&context=distractors_3", _ALL, ""),
        ("pruning_on", _FEW, _READ, _BEAM),
        ("pruning_off", _FEW, _READ, f"{_BEAM},prune=off"),
        ("dev_distractors_3", "split=dev&context=distractors_3&names=train", ("ctc",), ""),
    ),
}


def plan(recipe: str, stages, limit: int = 0) -> dict[tuple[str, str], dict[str, str]]:
    """(stage, decoding) -> {test: SPEC}; tests with lists only if the graph trains with them."""
    found = {}
    for name, query, scored, decode in PLANS[recipe]:
        if "context" in query and "context_sft" not in stages:
            continue
        if limit:
            query = f"{query.partition('&limit=')[0]}&limit={limit}"
        for stage in scored:
            if stage in stages:
                found.setdefault((stage, decode), {})[name] = f"synth:{recipe}?{query}"
    return found
