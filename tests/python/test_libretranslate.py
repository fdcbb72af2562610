"""LibreTranslate's own client translates with linnetd, over TCP with the token as its key."""

import json
from urllib import error, request

import pytest
from conftest import skip
from libretranslatepy import LibreTranslateAPI


@pytest.fixture
def client(daemon):
    daemon.needs("marian", "translate")
    return LibreTranslateAPI(f"http://127.0.0.1:{daemon.port}", daemon.token)


def test_a_text_is_translated(client):
    # The weights are a toy's: what counts is that there is an answer, and the same one each time.
    first = client.translate("hello", "en", "de")
    assert isinstance(first, str) and first and first == client.translate("hello", "en", "de")


def test_the_languages_are_listed_with_their_targets(client):
    listed = {language["code"]: language for language in client.languages()}
    assert listed["en"]["name"] == "English" and "de" in listed["en"]["targets"]


def test_a_pair_without_a_way_names_those_that_there_are(client):
    with pytest.raises(error.HTTPError) as refused:
        client.translate("hello", "en", "tlh")
    body = json.loads(refused.value.read())
    assert isinstance(body["error"], str) and "en to " in body["error"]


def test_without_the_key_nothing_is_told(daemon):
    for ask in (lambda api: api.translate("hello", "en", "de"), lambda api: api.languages()):
        for key in (None, "wrong"):
            with pytest.raises(error.HTTPError) as refused:
                ask(LibreTranslateAPI(f"http://127.0.0.1:{daemon.port}", key))
            assert refused.value.code == 401


def test_json_with_a_list_is_answered_with_lists(daemon):
    daemon.needs("marian", "translate")
    body = {"q": ["hello", "hello"], "source": "en", "target": "de", "alternatives": 1, "api_key": daemon.token}
    asked = request.Request(
        f"http://127.0.0.1:{daemon.port}/translate",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    answer = json.loads(request.urlopen(asked, timeout=60).read())
    assert len(answer["translatedText"]) == len(answer["alternatives"]) == 2


def test_a_language_is_found_where_a_model_finds_languages(daemon):
    if not any("detect" in model["tasks"] for model in daemon.models().values()):
        skip("no model that finds out languages (models/lang-id)")
    api = LibreTranslateAPI(f"http://127.0.0.1:{daemon.port}", daemon.token)
    found = api.detect("Wie geht es Ihnen heute? Das Wetter ist sehr schön.")
    assert found[0]["language"] == "de" and 0 < found[0]["confidence"] <= 100
