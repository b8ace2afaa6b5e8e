"""The process that loads espeak-ng (GPL-3.0-or-later). Only `espeak` starts it.

Protocol: a job is JSON on stdin, `{"task", "utterances", "folder"}`. The task `speak` writes to
`folder` speech.json, a list of `{"samples", "events": [kind, sample, value, place]}` (phonemes have
no place), and speech.raw, the concatenated waves as int16. `phonemes` and `mnemonics` write
speech.json with `{"phonemes"}`, in IPA and by espeak-ng's own names.

NumPy is not imported: the process takes only a fifth of a second.
"""

import ctypes
import itertools
import json
import pathlib
import sys

RATE = 22_050  # Hz, of every voice that espeak-ng itself synthesises
SEED = 1  # of every process: shards differ in their utterances

# speak_lib.h of espeak-ng 1.52
_SYNCHRONOUS, _PHONEME_EVENTS, _DONT_EXIT = 2, 0x0001, 0x8000
_CHARACTERS_UTF8, _BY_CHARACTER = 1, 1
_PHONEMES = {"phonemes": 0x02, "mnemonics": 0}
_PARAMETERS = {"rate": 1, "pitch": 3, "range": 4}
_EVENT_END, _EVENT_WORD, _EVENT_PHONEME = 0, 1, 7


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),  # characters, from 1
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("name", ctypes.c_char * 8),
    ]


class _Voice(ctypes.Structure):
    _fields_ = [(name, ctypes.c_char_p) for name in ("name", "languages", "identifier")]


class _Library:
    """The initialised C library; at most one per process."""

    def __init__(self):
        import espeakng_loader  # here, since `espeak` imports RATE without the extra installed

        lib = self.lib = ctypes.CDLL(espeakng_loader.get_library_path())
        lib.espeak_GetCurrentVoice.restype = ctypes.POINTER(_Voice)
        lib.espeak_TextToPhonemes.restype = ctypes.c_char_p
        lib.espeak_Synth.argtypes = [
            *(ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint),
            *(ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p),
        ]
        data = espeakng_loader.get_data_path().encode()
        rate = lib.espeak_Initialize(_SYNCHRONOUS, 0, data, _PHONEME_EVENTS | _DONT_EXIT)
        if rate != RATE:
            raise SystemExit(f"espeak_Initialize: expected a rate of {RATE}, found {rate}")
        self.pcm, self.events, self.text = [], [], ""
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Event))
        self.callback = kind(self._collect)  # keeps a reference: the library has only the pointer
        lib.espeak_SetSynthCallback(self.callback)
        # Initialisation seeds the library's generator by the clock; breath noise uses libc's too.
        lib.espeak_ng_SetRandSeed(ctypes.c_long(SEED))
        ctypes.CDLL(None).srand(SEED)

    def _collect(self, wave, samples, events):
        """The library's callback: stores samples and events."""
        if wave and samples:
            self.pcm.append(ctypes.string_at(wave, 2 * samples))
        for event in itertools.takewhile(lambda e: e.type != _EVENT_END, events):
            if event.type == _EVENT_WORD:
                start = event.text_position - 1
                word = self.text[start : start + event.length]
                self.events.append(("word", event.sample, word, start))
            elif event.type == _EVENT_PHONEME and event.name:
                name = event.name.decode(errors="replace")
                self.events.append(("phoneme", event.sample, name))
        return 0

    def set_voice(self, utterance):
        """Sets voice, variant and parameters, and verifies the voice."""
        name = utterance["voice"] + ("+" + utterance["variant"] if utterance["variant"] else "")
        status = self.lib.espeak_SetVoiceByName(name.encode())
        current = self.lib.espeak_GetCurrentVoice().contents.identifier.decode()
        if status or current != name:
            raise SystemExit(f"espeak-ng: expected voice {name}, found {current}, status {status}")
        for key, number in _PARAMETERS.items():
            if self.lib.espeak_SetParameter(number, utterance[key], 0):
                raise SystemExit(f"espeak-ng refuses {key} = {utterance[key]}")

    def speak(self, utterance):
        """PCM bytes and events of an utterance."""
        self.set_voice(utterance)
        self.pcm, self.events, self.text = [], [], utterance["text"]
        text = self.text.encode() + b"\0"
        status = self.lib.espeak_Synth(
            text, len(text), 0, _BY_CHARACTER, 0, _CHARACTERS_UTF8, None, None
        )
        if status or not self.pcm:
            raise SystemExit(f"espeak-ng gave no samples for {utterance}, status {status}")
        return b"".join(self.pcm), self.events

    def phonemes(self, utterance, mode):
        """Phonemes of an utterance, clauses joined by ' | '."""
        self.set_voice(utterance)
        left, clauses = ctypes.c_char_p(utterance["text"].encode()), []
        while left.value:  # each call consumes a clause and advances the pointer; null at the end
            clauses.append(
                self.lib.espeak_TextToPhonemes(ctypes.byref(left), _CHARACTERS_UTF8, mode).decode()
            )
        return " | ".join(clauses)


def main() -> None:
    """Reads a job from stdin, writes `speech.json` and `speech.raw` to its folder."""
    job = json.load(sys.stdin.buffer)
    folder, library, rows = pathlib.Path(job["folder"]), _Library(), []
    mode = _PHONEMES.get(job["task"])
    with open(folder / "speech.raw", "wb") as raw:
        for utterance in job["utterances"]:
            if mode is not None:
                rows.append({"phonemes": library.phonemes(utterance, mode)})
                continue
            pcm, events = library.speak(utterance)
            raw.write(pcm)
            rows.append({"samples": len(pcm) // 2, "events": events})
    (folder / "speech.json").write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
