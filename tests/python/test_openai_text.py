"""OpenAI's own package asks linnetd for text: completions, conversations, tools, schemas, vectors."""

import base64
import json
import struct

import openai
import pytest
from test_openai import client  # noqa: F401, the fixture

HELLO = [{"role": "user", "content": "hello"}]


def test_a_completion_of_text_and_of_ids(daemon, client):
    model = daemon.needs("llama", "generate")
    answer = client.completions.create(model=model, prompt="hello", max_tokens=8, temperature=0)
    assert answer.object == "text_completion" and answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    ids = client.completions.create(
        model=model, prompt=[5, 6, 7], max_tokens=8, temperature=0, extra_body={"return_token_ids": True}
    ).choices[0]
    assert ids.prompt_token_ids == [5, 6, 7]
    assert 1 <= len(ids.token_ids) <= 8 and all(isinstance(i, int) for i in ids.token_ids)
    several = client.completions.create(model=model, prompt=["a", "b"], max_tokens=2, n=2, temperature=1, seed=3)
    assert [choice.index for choice in several.choices] == [0, 1, 2, 3]


def test_a_sequence_to_sequence_model_reads_the_prompt_with_its_encoder(daemon, client):
    model = daemon.needs("t5", "generate")
    answer = client.completions.create(model=model, prompt="hello", max_tokens=8)
    assert answer.model == model and answer.choices[0].finish_reason in ("stop", "length")


def test_the_pieces_of_a_streamed_completion_are_its_text(daemon, client):
    model = daemon.needs("llama", "generate")
    asked = {"model": model, "prompt": "hello", "max_tokens": 12, "temperature": 0}
    whole = client.completions.create(**asked)
    pieces = list(client.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    text = "".join(choice.text for piece in pieces for choice in piece.choices)
    assert text == whole.choices[0].text
    assert pieces[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_logprobs_stand_beside_every_token(daemon, client):
    model = daemon.needs("llama", "generate")
    asked = client.completions.create(model=model, prompt="hello", max_tokens=4, temperature=0, logprobs=2)
    logprobs = asked.choices[0].logprobs
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.text_offset) > 0
    assert all(value <= 0 for value in logprobs.token_logprobs)


def test_a_conversation_is_answered_whole_and_as_it_is_written(daemon, client):
    model = daemon.needs("llama", "chat")
    asked = {"model": model, "messages": HELLO, "max_tokens": 8, "temperature": 0}
    whole = client.chat.completions.create(**asked)
    assert whole.choices[0].message.role == "assistant"
    chunks = list(client.chat.completions.create(**asked, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == whole.choices[0].message.content
    assert [c.choices[0].finish_reason for c in chunks][-1] in ("stop", "length")
    logprobs = client.chat.completions.create(**asked, logprobs=True, top_logprobs=2).choices[0].logprobs.content
    assert logprobs and all(len(token.top_logprobs) <= 2 for token in logprobs)


def test_a_name_that_openai_has_is_an_alias_of_the_configuration(daemon, client):
    daemon.needs("llama", "chat")
    daemon.needs("minilm", "embed")
    answer = client.chat.completions.create(model="gpt-4o-mini", messages=HELLO, max_tokens=2)
    assert answer.model == "llama"
    vectors = client.embeddings.create(model="text-embedding-3-small", input="hello")
    assert vectors.model == "minilm"


def test_an_answer_keeps_to_its_schema(daemon, client):
    model = daemon.needs("llama", "chat")
    schema = {
        "type": "object",
        "properties": {"on": {"type": "boolean"}, "room": {"enum": ["kitchen", "hall"]}},
        "required": ["on", "room"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "light", "strict": True, "schema": schema}}
    answer = client.chat.completions.create(
        model=model, messages=HELLO, max_tokens=200, temperature=0, response_format=wanted
    )
    choice = answer.choices[0]
    if choice.finish_reason == "stop":
        said = json.loads(choice.message.content)
        assert isinstance(said["on"], bool) and said["room"] in ("kitchen", "hall")
    else:
        # A random model may write blanks until its limit.
        assert choice.finish_reason == "length"


def test_a_tool_that_must_be_called_is_called_with_arguments_of_its_schema(daemon, client):
    model = daemon.needs("llama", "chat")
    parameters = {
        "type": "object",
        "properties": {"room": {"enum": ["kitchen"]}},
        "required": ["room"],
        "additionalProperties": False,
    }
    tool = {"type": "function", "function": {"name": "light", "parameters": parameters}}
    try:
        answer = client.chat.completions.create(
            model=model, messages=HELLO, tools=[tool], tool_choice="required", max_tokens=200, temperature=0
        )
    except openai.UnprocessableEntityError as refused:
        # A template that has no place for tools is told as such.
        assert "tool" in str(refused)
        return
    choice = answer.choices[0]
    if choice.finish_reason == "tool_calls":
        call = choice.message.tool_calls[0]
        assert call.type == "function" and call.id and call.function.name == "light"
        assert json.loads(call.function.arguments) == {"room": "kitchen"}
    else:
        assert choice.finish_reason == "length"


def test_vectors_come_as_numbers_and_as_the_base64_that_the_client_asks_for(daemon, client):
    model = daemon.needs("minilm", "embed")
    asked = client.embeddings.create(model=model, input=["a cat", "a dog"])
    assert [one.index for one in asked.data] == [0, 1]
    numbers = client.embeddings.create(model=model, input="a cat", encoding_format="float").data[0].embedding
    packed = client.embeddings.create(model=model, input="a cat", encoding_format="base64").data[0].embedding
    unpacked = packed
    if isinstance(packed, str):
        unpacked = struct.unpack(f"<{len(numbers)}f", base64.b64decode(packed))
    for values in (asked.data[0].embedding, list(unpacked)):
        assert values == pytest.approx(numbers, abs=1e-6)
    short = client.embeddings.create(model=model, input="a cat", dimensions=8).data[0].embedding
    assert len(short) == 8


def test_what_is_wrong_is_openais_error_with_its_parameter(daemon, client):
    model = daemon.needs("llama", "generate")
    with pytest.raises(openai.BadRequestError) as unknown:
        client.completions.create(model=model, prompt="x", extra_body={"frobnicate": 1})
    assert unknown.value.param == "frobnicate" and "unrecognized request argument" in str(unknown.value)
    for name, value in [("n", 1000), ("max_tokens", 10**12), ("temperature", -1), ("top_p", 2)]:
        with pytest.raises(openai.UnprocessableEntityError) as outside:
            client.completions.create(model=model, prompt="x", **{name: value})
        assert outside.value.param == name
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="no-such-model", messages=HELLO)


def test_speech_in_a_message_is_heard_first(daemon, client, sample):
    model = daemon.needs("llama", "chat")
    audio = {"data": base64.b64encode(sample.read_bytes()).decode(), "format": "wav"}
    message = {"role": "user", "content": [{"type": "input_audio", "input_audio": audio}]}
    answer = client.chat.completions.create(model=model, messages=[message], max_tokens=2)
    # The tokens of the words that were heard are counted.
    short = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "x"}], max_tokens=2)
    assert answer.usage.prompt_tokens > short.usage.prompt_tokens


def test_speech_is_translated_or_the_pair_is_told(daemon, client, sample):
    with open(sample, "rb") as audio:
        try:
            heard = client.audio.translations.create(model="stt-en-small", file=audio)
        except openai.UnprocessableEntityError as refused:
            assert "translat" in str(refused)
        else:
            # English already: its words stay.
            assert heard.text.strip()
