"""OpenAI's own package speaks to linnetd as if it were OpenAI."""

import openai
import pytest

try:
    import httpx2 as httpx  # openai 3 and newer
except ImportError:
    import httpx


@pytest.fixture(params=["unix socket", "tcp"])
def client(daemon, request):
    if request.param == "tcp":
        made = openai.OpenAI(base_url=f"http://127.0.0.1:{daemon.port}/v1", api_key=daemon.token, max_retries=0)
    else:
        transport = httpx.Client(transport=httpx.HTTPTransport(uds=str(daemon.socket)))
        made = openai.OpenAI(base_url="http://localhost/v1", api_key="unused", http_client=transport, max_retries=0)
    with made:
        yield made


def test_a_file_is_transcribed_in_every_format(client, sample):
    heard = {}
    for response_format in ["json", "text", "srt", "vtt", "verbose_json"]:
        with open(sample, "rb") as audio:
            heard[response_format] = client.audio.transcriptions.create(
                model="whisper-1", file=audio, response_format=response_format
            )
    text = heard["json"].text
    assert text.strip()
    assert heard["text"].strip() == text.strip()
    assert heard["verbose_json"].text == text
    assert heard["vtt"].startswith("WEBVTT")
    assert "-->" in heard["srt"]
    assert 3 < float(heard["verbose_json"].duration) < 6


def test_words_come_with_times_in_order(client, sample):
    with open(sample, "rb") as audio:
        heard = client.audio.transcriptions.create(
            model="stt-en-small",
            file=audio,
            response_format="verbose_json",
            timestamp_granularities=["word", "segment"],
            language="en",
            prompt="fisherman, sea",
            temperature=0,
        )
    assert " ".join(word.word for word in heard.words).split() == heard.text.split()
    for before, after in zip(heard.words, heard.words[1:]):
        assert before.start <= before.end <= after.end
    assert heard.segments and heard.segments[0].text


def test_a_stream_of_events_adds_up_to_the_text(client, sample):
    deltas, done = [], None
    with open(sample, "rb") as audio:
        for event in client.audio.transcriptions.create(model="whisper-1", file=audio, stream=True):
            if event.type == "transcript.text.delta":
                deltas.append(event.delta)
            elif event.type == "transcript.text.done":
                done = event.text
    assert done and "".join(deltas) == done


def test_models_are_listed(client):
    assert "stt-en-small" in [model.id for model in client.models.list()]
    assert client.models.retrieve("stt-en-small").object == "model"


def test_refusals_arrive_as_openais_own_exceptions(client, sample):
    with open(sample, "rb") as audio, pytest.raises(openai.NotFoundError) as refused:
        client.audio.transcriptions.create(model="no-such-model", file=audio)
    assert refused.value.code == "unknown_model"
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        client.audio.transcriptions.create(model="whisper-1", file=("empty.wav", b""))
    assert refused.value.code == "empty_audio"
    with pytest.raises(openai.APIStatusError) as refused:
        client.audio.transcriptions.create(model="whisper-1", file=("text.txt", b"These are words, not sounds. " * 20))
    assert refused.value.status_code == 415


def test_tcp_without_the_token_is_refused(daemon, sample):
    stranger = openai.OpenAI(base_url=f"http://127.0.0.1:{daemon.port}/v1", api_key="wrong", max_retries=0)
    with stranger, open(sample, "rb") as audio, pytest.raises(openai.AuthenticationError):
        stranger.audio.transcriptions.create(model="whisper-1", file=audio)
