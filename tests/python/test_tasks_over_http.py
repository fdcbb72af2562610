"""Linnet's own tasks over the socket, as any program with a JSON library asks them."""

import json

import pytest
from conftest import UnixConnection


def ask(daemon, path: str, body: dict):
    connection = UnixConnection(daemon.socket)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("model", "task", "path", "body", "members"),
    [
        ("bert", "fill", "/v1/fill-mask", {"input": "a [MASK]"}, {"token_str", "token", "score", "sequence"}),
        ("distilbert", "classify", "/v1/classify", {"input": "a b"}, {"label", "score"}),
        ("xlm-roberta", "tag", "/v1/tag", {"input": "a b c"}, {"label", "score", "word", "start", "end"}),
        ("bert-qa", "answer", "/v1/answer", {"question": "a", "context": "b c"}, {"answer", "score", "start", "end"}),
    ],
)
def test_results_have_their_members_best_first(daemon, model, task, path, body, members):
    status, answer = ask(daemon, path, {"model": daemon.needs(model, task), **body})
    assert status == 200, answer
    assert answer["model"] == model and all(set(result) == members for result in answer["results"])
    scores = [result["score"] for result in answer["results"]]
    assert task == "tag" or scores == sorted(scores, reverse=True)


def test_several_masks_are_a_list_of_lists(daemon):
    status, answer = ask(daemon, "/v1/fill-mask", {"model": daemon.needs("bert", "fill"), "input": "a [MASK] b [MASK]"})
    assert status == 200 and [len(mask) for mask in answer["results"]] == [5, 5], answer


def test_labels_of_the_callers_own_are_chosen_by_entailment(daemon):
    body = {"model": daemon.needs("bert-nli", "classify"), "input": "a b", "labels": ["good", "bad", "ugly"]}
    status, answer = ask(daemon, "/v1/classify", body)
    assert status == 200 and {result["label"] for result in answer["results"]} == {"good", "bad", "ugly"}, answer


def test_an_unknown_argument_is_refused_by_name(daemon):
    status, answer = ask(daemon, "/v1/classify", {"input": "a", "frobnicate": 1})
    assert status == 400 and answer["error"]["param"] == "frobnicate"
