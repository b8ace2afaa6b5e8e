"""A language from outside the package, for tests: `config.imports = ("outside_language",)`."""

from seedasr_jax.text import languages

languages.add(languages.Language("tlh", "Klingon", "", "Latn", "char", "basic@2"))
