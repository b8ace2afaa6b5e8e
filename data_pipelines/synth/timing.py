"""Start times of the units and phones of an utterance, from the synthesiser's events."""

import re

from seedasr_jax.data_pipelines.synth import espeak

PAUSE = "_"
_STRESS = "',%="


def alignment(text: str, unit: str, speech: espeak.Speech, trimmed: float, seconds: float) -> dict:
    """Start times within a clip, in seconds: `words`, of each unit; `phones`, [start, name].

    Words that are pronounced as one ("on the", 十五) have a single event: its phones are divided
    equally among their units, or its duration if it has fewer phones than units. Names of phones
    contain neither tone nor stress; a pause is PAUSE.

    Args:
        text: the clip's text.
        unit: "word" or "char".
        speech: untrimmed, of which `trimmed` seconds were removed from the start.
        seconds: duration of the clip.
    """
    places = [match.start() for match in re.finditer(r"\S+" if unit == "word" else r"\S", text)]

    def time(sample):
        start = min(round((sample / espeak.RATE - trimmed) * 1000), int(seconds * 1000))
        return max(start, 0) / 1000  # whole milliseconds, within the clip

    words = []
    groups = list(_groups(places, speech.events))
    ends = [start for _, start, _ in groups[1:]] + [len(speech.wave)]
    for (count, start, phones), end in zip(groups, ends, strict=True):
        if len(phones) < count:
            phones = [start + (end - start) * place // count for place in range(count)]
        later = (phones[round(place * len(phones) / count)] for place in range(1, count))
        words += [time(start), *map(time, later)]
    phones = []
    for event in speech.events:
        name = _phone(event.value)
        if event.kind == "phoneme" and not (name == PAUSE and phones and phones[-1][1] == PAUSE):
            phones.append([time(event.sample), name])
    if phones[-1][1] == PAUSE:
        phones.pop()  # silence that was trimmed, but for its margin
    assert len(words) == len(places) and words == sorted(words), (text, words)
    return {"words": words, "phones": phones}


def _groups(places, events):
    """Yields (number of units pronounced as one, first sample, first samples of their phones)."""
    first, start, phones = 0, None, []
    for event in events:
        if event.kind == "phoneme":
            if _phone(event.value) != PAUSE:
                phones.append(event.sample)
            continue
        unit = sum(place <= event.place for place in places) - 1
        if start is None:
            start = event.sample
        elif unit > first:
            yield unit - first, start, phones
            first, start, phones = unit, event.sample, []
    yield len(places) - first, start, phones


def _phone(name):
    return PAUSE if name.startswith(PAUSE) else name.strip(_STRESS)
