"""The shapes of an evaluation: (seconds, tokens decoded at most, utterances), ascending."""

LONGEST = 300.0  # seconds that are scored in one piece where no bucket is named
_CONTEXT = 16  # room for contexts is a multiple of it: few shapes to compile


def longer(buckets):
    """The buckets and, behind them, each twice as long as the one before, up to LONGEST seconds."""
    buckets = list(buckets)
    while 0 < buckets[-1][0] < LONGEST:
        seconds, tokens, utterances = buckets[-1]
        buckets.append((2 * seconds, 2 * tokens, max(1, utterances // 2)))
    return tuple(buckets)


def reached(buckets, seconds: float):
    """The buckets that pieces of so many seconds at most are scored in; 0: their length is open."""
    enough = [number for number, bucket in enumerate(buckets, 1) if bucket[0] >= seconds > 0]
    return tuple(buckets[: enough[0] if enough else None])


def context_room(tokens: int) -> int:
    """Room for contexts of so many tokens at most."""
    return -(-tokens // _CONTEXT) * _CONTEXT
