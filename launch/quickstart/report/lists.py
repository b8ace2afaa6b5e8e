"""Effects of lists of names: tables of recall, recall by language, and costs of a list."""

from seedasr_jax.launch.quickstart.report.page import note, number, table, text

NOTE = (
    "Percent of names spelled exactly, by the list given with the speech. Homophones: names with"
    " two spellings of one sound, both in training. Unseen names: in no sentence and no list of"
    " training. Matcher: no language model; a listed name replaces CTC text spelled almost like it."
)
COSTS = (
    "Cost of a list none of whose names is spoken. The joint beam search scores with and without"
    " the list; pruning drops tokens that are implausible without it."
)
_RECALL = {  # column -> path in `context`
    "no list": "none.recall",
    "name + 3": "right_3.recall",
    "3 others": "distractors_3.recall",
    "other spelling + 3": "wrong.recall",
    "its spelling taken": "wrong.follow",
    "no list ": "unseen_names.none.recall",
    "name + 3 ": "unseen_names.recall",
}
_RECALL_GROUPS = (("homophones", 5), ("unseen names", 2))
_LANGUAGES = {"none": "no list", "right_3": "name + 3", "unseen_names": "unseen, name + 3"}
_COST = {
    "error rate": "distractors_3.error_rate",
    "points added": "distractors_3.cost",
    "test": "distractors_3.false_insertions",
    "homophones": "distractors_3.homophones.false_insertions",
    "unseen names": "unseen_names.false_insertions",
    "beam, not pruned": "pruning.off.false_insertions",
    "beam, pruned": "pruning.on.false_insertions",
}
_COST_GROUPS = (("test, 3 others", 2), ("% with an unspoken name, 3 others", 5))


def tables(stages) -> str:
    """The tables of the stages that have `context`, and of the matcher."""
    informed = {name: stage["context"] for name, stage in stages.items() if "context" in stage}
    if not informed:
        return ""
    matchers = [("matcher", own["matcher"]) for own in informed.values() if "matcher" in own]
    rows = informed | dict(matchers)

    def rates(columns, groups):
        body = [
            [text(name), *(number(_at(context, path)) for path in columns.values())]
            for name, context in rows.items()
        ]
        return table(["", *map(text, columns)], body, groups=groups)

    out = rates(_RECALL, _RECALL_GROUPS)
    tags = list(_at(next(iter(informed.values())), "right_3.by_language") or ())
    if tags:
        body = [
            [
                f"{text(name)}<small>{label}</small>",
                *(number(_at(context, f"{kind}.by_language.{tag}.recall")) for tag in tags),
            ]
            for name, context in rows.items()
            for kind, label in _LANGUAGES.items()
            if kind in context
        ]
        out += note("The same by language.") + table(["", *map(text, tags)], body)
    return out + note(COSTS) + rates(_COST, _COST_GROUPS)


def _at(tree, path):
    """The value at a path of keys, or None."""
    for key in path.split("."):
        if not isinstance(tree, dict) or key not in tree:
            return None
        tree = tree[key]
    return tree
