"""Counting of tokens, and of those that are unknown to the tokenizer."""

from seedasr_jax.text.vocab import Vocabulary

NOTABLE = 0.01  # fraction of unknown tokens above which `Counted.warning` is not empty


class Counted:
    """Maps a text to its number of tokens, and keeps the totals `tokens` and `unknown`.

    A run of unknown words may be one token.
    """

    def __init__(self, vocab: Vocabulary, normal=str, key: str = "", beside: int = 0):
        """`normal` is applied to texts first; `key` names the counts of this tokenizer and it.

        `beside`: tokens of an answer beside the text, added to each count.
        """
        self._vocab, self._normal, self._beside = vocab, normal, beside
        self.key = f"{key}-{beside}" if beside else key
        self.tokens = self.unknown = 0

    def __call__(self, text: str) -> int:
        """Counts the tokens of a text and adds them to the totals."""
        tokens, unknown = self.count(text)
        self.add(tokens, unknown)
        return tokens

    def add(self, tokens: int, unknown: int):
        """Adds counts to the totals, such as those of another process."""
        self.tokens += tokens
        self.unknown += unknown

    def count(self, text: str) -> tuple[int, int]:
        """Numbers of tokens and of unknown tokens of a text; leaves the totals unchanged."""
        ids = self._vocab.encode(self._normal(text))
        if self._vocab.unk_id == self._vocab.pad_id:  # no token is unknown
            return len(ids) + self._beside, 0
        return len(ids) + self._beside, ids.count(self._vocab.unk_id)

    @property
    def share(self) -> float:
        """Fraction of the tokens that are unknown; 0 without tokens."""
        return self.unknown / max(self.tokens, 1)

    @property
    def warning(self) -> str:
        """A warning about unknown tokens; "" if there are few."""
        if self.share <= NOTABLE:
            return ""
        return (
            f"{100 * self.share:.1f} % of the tokens are unknown to the tokenizer, which decodes"
            " each as one mark: raise vocab.size, or set vocab.kind='bpe' (data vocab: --size,"
            " --kind)"
        )
