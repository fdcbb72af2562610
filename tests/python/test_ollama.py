"""Ollama's own package chats with linnetd over TCP."""

import ollama
import pytest


@pytest.fixture
def client(daemon):
    headers = {"Authorization": f"Bearer {daemon.token}"}
    return ollama.Client(host=f"http://127.0.0.1:{daemon.port}", headers=headers)


def test_a_chat_comes_line_by_line_and_whole(daemon, client):
    model = daemon.needs("llama", "chat")
    asked = {"model": f"{model}:latest", "messages": [{"role": "user", "content": "hello"}]}
    options = {"num_predict": 8, "temperature": 0}
    whole = client.chat(**asked, options=options)
    assert whole.done and whole.eval_count <= 8 and whole.message.role == "assistant"
    lines = list(client.chat(**asked, options=options, stream=True))
    assert lines[-1].done and "".join(line.message.content or "" for line in lines) == whole.message.content


def test_a_prompt_is_continued_by_a_model_that_does_not_chat(daemon, client):
    model = daemon.needs("gpt2", "generate")
    answer = client.generate(model=model, prompt="hello", options={"num_predict": 4, "temperature": 0})
    assert answer.done and answer.done_reason in ("stop", "length")


def test_vectors_and_models(daemon, client):
    model = daemon.needs("minilm", "embed")
    vectors = client.embed(model=model, input=["a", "b"]).embeddings
    assert len(vectors) == 2 and len(vectors[0]) == len(vectors[1]) > 0
    assert f"{model}:latest" in [m.model for m in client.list().models]
    assert "embedding" in client.show(model).capabilities


def test_a_model_that_is_not_there_is_ollamas_error(client):
    with pytest.raises(ollama.ResponseError) as refused:
        client.chat(model="no-such-model", messages=[{"role": "user", "content": "x"}])
    assert refused.value.status_code == 404 and "no-such-model" in refused.value.error
