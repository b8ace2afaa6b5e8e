"""Tokens of texts, counted, and how many of them the tokenizer does not know."""

from seedasr_jax.text.vocab import Vocabulary

NOTABLE = 0.01  # share of unknown tokens from which on it is said


class Counted:
    """text -> number of its tokens; counts them all.

    Attributes:
        key: distinguishes its counts from those of another tokenizer or normaliser.
        tokens, unknown: of all texts so far. A run of unknown words may be one token.
    """

    def __init__(self, vocab: Vocabulary, normal=str, key: str = ""):
        """Args: `vocab`, the tokenizer; `normal`, text -> the text that is tokenised."""
        self._vocab, self._normal, self.key = vocab, normal, key
        self.tokens = self.unknown = 0

    def __call__(self, text: str) -> int:
        """Counts the tokens of a text."""
        tokens, unknown = self.count(text)
        self.add(tokens, unknown)
        return tokens

    def add(self, tokens: int, unknown: int):
        """Adds what was counted elsewhere."""
        self.tokens += tokens
        self.unknown += unknown

    def count(self, text: str) -> tuple[int, int]:
        """Tokens of a text, and those that are unknown; adds nothing."""
        ids = self._vocab.encode(self._normal(text))
        if self._vocab.unk_id == self._vocab.pad_id:  # no token is unknown
            return len(ids), 0
        return len(ids), ids.count(self._vocab.unk_id)

    @property
    def share(self) -> float:
        """Of the tokens that are unknown, a fraction; 0 of none."""
        return self.unknown / max(self.tokens, 1)

    @property
    def warning(self) -> str:
        """What to say of the unknown ones; "" where they are few."""
        if self.share <= NOTABLE:
            return ""
        share = 100 * self.share
        return (
            f"{share:.1f} % of the tokens are unknown to the tokenizer, which writes each as one"
            " mark: raise vocab.size, or take vocab.kind='bpe' (data vocab: --size, --kind)"
        )
