"""Paho, the client that most projects use, asks over a real Mosquitto: MQTT 5 with properties, and 3.1.1 with the id in the topic."""

import base64
import json
import queue
import uuid

import paho.mqtt.client as paho
import pytest
from conftest import skip
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

ANSWER_SECS = 30


class Client:
    """A connected client whose messages wait in a queue."""

    def __init__(self, port: int, version: int):
        self.messages: queue.Queue = queue.Queue(100)
        self.subscribed: queue.Queue = queue.Queue(10)
        self.paho = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=version)
        self.paho.on_message = lambda _client, _data, message: self.messages.put(message)
        self.paho.on_subscribe = lambda *_: self.subscribed.put(True)
        self.paho.connect("127.0.0.1", port)
        self.paho.loop_start()

    def subscribe(self, topic: str):
        self.paho.subscribe(topic, qos=1)
        self.subscribed.get(timeout=ANSWER_SECS)

    def next(self):
        return self.messages.get(timeout=ANSWER_SECS)

    def close(self):
        self.paho.disconnect()
        self.paho.loop_stop()


@pytest.fixture(params=[paho.MQTTv5, paho.MQTTv311], ids=["5", "3.1.1"])
def client(daemon, request):
    if daemon.broker_port is None:
        skip("mosquitto is not installed: apt-get install mosquitto")
    made = Client(daemon.broker_port, request.param)
    # The daemon has said that it is there before anything is asked of it.
    made.subscribe("linnet/bench/status")
    assert made.next().payload == b"online"
    yield made
    made.close()


def ask(client: Client, name: str, payload: bytes, content_type: str):
    """Asks in the way that the client's version has, and gives the answer's message."""
    if client.paho.protocol == paho.MQTTv5:
        topic = f"linnet/{name}/response/1"
        client.subscribe(topic)
        properties = Properties(PacketTypes.PUBLISH)
        properties.ResponseTopic = topic
        properties.CorrelationData = name.encode()
        properties.ContentType = content_type
        client.paho.publish("linnet/bench/request/transcribe", payload, qos=1, properties=properties)
        answer = client.next()
        assert answer.properties.CorrelationData == name.encode()
        return answer
    client.subscribe(f"linnet/bench/response/{name}")
    client.paho.publish(f"linnet/bench/request/transcribe/{name}", payload, qos=1)
    return client.next()


def test_a_recording_is_answered_with_its_transcript(client, sample):
    heard = json.loads(ask(client, "plain", sample.read_bytes(), "audio/wav").payload)
    assert heard["text"].strip() and heard["words"] and heard["model"] == "stt-en-small"


def test_audio_in_json_is_the_same_audio(client, sample):
    body = json.dumps({"audio": base64.b64encode(sample.read_bytes()).decode(), "language": "en"}).encode()
    heard = json.loads(ask(client, "json", body, "application/json").payload)
    plain = json.loads(ask(client, "again", sample.read_bytes(), "audio/wav").payload)
    assert heard["text"] == plain["text"]


def test_rubbish_is_answered_with_a_typed_error(client):
    refused = json.loads(ask(client, "rubbish", b"not audio at all, but words " * 10, "audio/wav").payload)
    assert refused["error"]["code"] in ("unsupported_media", "invalid_audio")


def test_the_state_is_retained(client):
    client.subscribe("linnet/bench/state")
    state = json.loads(client.next().payload)
    assert state["device"] == "bench" and state["limits"]["max_packet_bytes"] > 0


def ask_task(client: Client, task: str, name: str, body: dict, last=lambda _message: True) -> list:
    """Asks for a task with the id in the topic, which both versions have, and gives all messages of the answer."""
    client.subscribe(f"linnet/bench/response/{name}")
    client.paho.publish(f"linnet/bench/request/{task}/{name}", json.dumps(body), qos=1)
    messages = []
    while not messages or not last(messages[-1]):
        messages.append(json.loads(client.next().payload))
    return messages


def test_a_text_task_takes_and_gives_the_json_of_http(daemon, client):
    model = daemon.needs("distilbert", "classify")
    (answer,) = ask_task(client, "classify", "classify", {"model": model, "input": "a b"})
    assert answer["model"] == model and answer["results"][0]["label"]


def test_a_streamed_generation_is_numbered_and_ends_with_all_of_it(daemon, client):
    model = daemon.needs("llama", "generate")
    body = {"model": model, "prompt": "hello", "max_tokens": 8, "temperature": 0, "stream": True}
    # An id of its own for each version: the same request again would get the answer that is kept, without its pieces.
    name = f"stream-{uuid.uuid4().hex}"
    messages = ask_task(client, "generate", name, body, last=lambda m: m.get("final") or "error" in m)
    assert [m["seq"] for m in messages] == list(range(len(messages)))
    pieces = "".join(m["choices"][0]["text"] for m in messages[:-1] if m["choices"])
    assert messages[-1]["choices"][0]["text"].startswith(pieces)
    assert messages[-1]["object"] == "text_completion"
