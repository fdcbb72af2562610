"""Encoder-decoder exports on ONNX Runtime: an encoder, and a merged decoder or the pair without and with past."""

from pathlib import Path

import numpy as np

from .onnx_decoder import empty_past, session


class Seq2Seq:
    """`files` names `encoder` and either `decoder` (merged) or `decoder` and `decoder_with_past`."""

    def __init__(self, directory: Path, files: dict, as_written: bool = False):
        self.encoder = session(directory / files["encoder"], as_written)
        self.first = session(directory / files["decoder"], as_written)
        self.next = session(directory / files["decoder_with_past"], as_written) if "decoder_with_past" in files else self.first
        # Of the last step, by layer: [batch, heads, time, encoder positions].
        self.attention = []

    def encode(self, feed: dict) -> np.ndarray:
        names = {i.name for i in self.encoder.get_inputs()}
        return self.encoder.run(None, {k: v for k, v in feed.items() if k in names})[0]

    def step(self, ids: np.ndarray, hidden: np.ndarray, mask: np.ndarray | None, past: dict):
        """ids [batch, time] → logits [batch, time, vocabulary] and the next cache; an empty `past` means the first step."""
        decoder = self.next if past else self.first
        inputs = {i.name: i for i in decoder.get_inputs()}
        feed = {"input_ids": ids.astype(np.int64), "encoder_hidden_states": hidden, "encoder_attention_mask": mask}
        feed["use_cache_branch"] = np.array([bool(past)])
        filled = {**empty_past(inputs, ids.shape[0]), **past}
        past_len = filled["past_key_values.0.decoder.key"].shape[2] if "past_key_values.0.decoder.key" in filled else 0
        feed["decoder_attention_mask"] = np.ones((ids.shape[0], past_len + ids.shape[1]), np.int64)
        feed["cache_position"] = np.arange(past_len, past_len + ids.shape[1], dtype=np.int64)
        feed.update(filled)
        names = [o.name for o in decoder.get_outputs()]
        answers = dict(zip(names, decoder.run(None, {k: v for k, v in feed.items() if k in inputs})))
        self.attention = [answers[n] for n in names if n.startswith("cross_attentions.")]
        fresh = {n.replace("present", "past_key_values"): v for n, v in answers.items() if n.startswith("present")}
        # After the first step the merged graph gives cross-attention caches that hold nothing: the first step's stay.
        kept = {n: v for n, v in past.items() if ".encoder." in n}
        return answers["logits"].astype(np.float32), {**fresh, **kept}

    def forced(self, encoder_feed: dict, mask: np.ndarray | None, start: list[int], answer: list[int]) -> np.ndarray:
        """Logits [steps, vocabulary] where `start` (at once) and then the ids of `answer` are fed, whatever the graph prefers."""
        return self.forced_with_attention(encoder_feed, mask, start, answer)[0]

    def forced_with_attention(self, encoder_feed: dict, mask, start: list[int], answer: list[int]) -> tuple[np.ndarray, np.ndarray | None]:
        """The same, and the cross-attention [layers, heads, steps, encoder positions] of each step, where the graph gives it and `start` is one id."""
        hidden, past, ids, seen, listened = self.encode(encoder_feed), {}, np.array([start]), [], []
        for token in answer:
            logits, past = self.step(ids, hidden, mask, past)
            seen.append(logits[0, -1])
            listened.append(np.concatenate(self.attention) if self.attention else None)
            ids = np.array([[token]])
        return np.stack(seen), None if listened[0] is None else np.concatenate(listened, axis=2)

    def greedy(self, encoder_feed: dict, mask, start: list[int], stop: set[int], limit: int, forced: dict[int, int] = {}, banned: tuple = ()):
        """ids [steps] (with the end token) and logits [steps, vocabulary]; `forced` gives ids by step, `banned` are never chosen."""
        hidden, past, ids, seen, chosen = self.encode(encoder_feed), {}, np.array([start]), [], []
        while len(chosen) < limit and not (chosen and chosen[-1] in stop):
            logits, past = self.step(ids, hidden, mask, past)
            seen.append(logits[0, -1])
            allowed = logits[0, -1].copy()
            allowed[list(banned)] = -np.inf
            chosen.append(int(forced.get(len(chosen), allowed.argmax())))
            ids = np.array([[chosen[-1]]])
        return np.array(chosen), np.stack(seen)
