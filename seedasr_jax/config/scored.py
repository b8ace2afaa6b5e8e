"""Buckets of an evaluation: (seconds, limit of decoded tokens, utterances), ascending."""

LONGEST = 300.0  # seconds that the default buckets score as one segment
_CONTEXT = 16  # context capacities are multiples of it: few shapes to compile


def longer(buckets):
    """The buckets, followed by buckets of doubling length until one reaches LONGEST seconds."""
    buckets = list(buckets)
    while 0 < buckets[-1][0] < LONGEST:
        seconds, tokens, utterances = buckets[-1]
        buckets.append((2 * seconds, 2 * tokens, max(1, utterances // 2)))
    return tuple(buckets)


def reached(buckets, seconds: float):
    """The buckets that segments of at most `seconds` are scored in; 0 (length unknown): all."""
    enough = [number for number, bucket in enumerate(buckets, 1) if bucket[0] >= seconds > 0]
    return tuple(buckets[: enough[0] if enough else None])


def context_room(tokens: int) -> int:
    """Capacity for contexts of at most `tokens` tokens."""
    return -(-tokens // _CONTEXT) * _CONTEXT
