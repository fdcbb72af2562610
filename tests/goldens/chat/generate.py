#!/usr/bin/env python3
"""Writes the chat goldens: what `transformers` renders of our conversations with templates of the documented formats.

Run: python3 tests/goldens/chat/generate.py   (transformers 4.57.6, jinja2 3.1.x)

The templates in `templates/` are written from the formats that the models' own pages document. `cases.json` holds each
template with each conversation: the text, or that the template refuses it. `expressions.json` holds single expressions and
what Jinja makes of them in `transformers`' environment.
"""

import datetime
import json
import os

import jinja2
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

HERE = os.path.dirname(os.path.abspath(__file__))
NOW = datetime.datetime(2026, 3, 7, 9, 5, 4)  # a Saturday


class Frozen(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


chat_template_utils.datetime = Frozen

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather <now> & \"soon\" in Zürich's 天気 – °C",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "description": "the place"},
                "days": {"type": "integer", "minimum": 1, "default": 1.5e-07},
                "items": {"type": "array", "items": {"type": "number"}, "enum": [1.0, 2.5, 1e16, -0.0, 1000000000000000000]},
            },
            "required": ["place"],
            "additionalProperties": False,
            "nothing": None,
            "empty": [{}, []],
        },
    },
}
LIGHT = {
    "type": "function",
    "function": {"name": "switch_light", "description": "Licht\nan\taus\\ \u0001 \u007f \u2028", "parameters": {"type": "object", "properties": {}}},
}

CALL = {"id": "abcdefgh1", "type": "function", "function": {"name": "get_weather", "arguments": {"place": "Zürich <b>", "days": 2}}}
CALL2 = {"id": "abcdefgh2", "type": "function", "function": {"name": "switch_light", "arguments": {"on": True, "level": 0.5, "who": None}}}

CONVERSATIONS = {
    "one": [{"role": "user", "content": "Hello!"}],
    "system": [{"role": "system", "content": "You are terse."}, {"role": "user", "content": "Hi"}],
    "turns": [
        {"role": "user", "content": "What is 2+2?"},
        {"role": "assistant", "content": "4."},
        {"role": "user", "content": "And 3+3?"},
    ],
    "system_turns": [
        {"role": "system", "content": "  Be kind.  \n"},
        {"role": "user", "content": "\n first  "},
        {"role": "assistant", "content": "  second \n"},
        {"role": "user", "content": "third"},
        {"role": "assistant", "content": "fourth"},
    ],
    "empty_system": [{"role": "system", "content": ""}, {"role": "user", "content": "Hi"}],
    "empty": [{"role": "user", "content": ""}],
    "unicode": [
        {"role": "system", "content": "Ты – помощник. 助手です。"},
        {"role": "user", "content": "مرحبا 😀 \u00a0 e\u0301 \u2028 '\"\\ {{ not_a_template }} {% if %} {# no #}"},
        {"role": "assistant", "content": "Grüß Gott"},
        {"role": "user", "content": "\u3000wide\u3000"},
    ],
    "two_users": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
    "strange_role": [{"role": "developer", "content": "a"}, {"role": "user", "content": "b"}],
    "thinking": [
        {"role": "user", "content": "q1"},
        {"role": "assistant", "content": "<think>\nreason one\n</think>\n\nanswer one"},
        {"role": "user", "content": "q2"},
        {"role": "assistant", "content": "<think>\nreason two\n</think>\n\nanswer two"},
    ],
    "reasoning": [
        {"role": "user", "content": "q1"},
        {"role": "assistant", "content": "a1", "reasoning_content": "\nbecause\n"},
        {"role": "user", "content": "q2"},
        {"role": "assistant", "content": "a2", "reasoning_content": "\nsince\n"},
    ],
    "call": [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "abcdefgh1", "name": "get_weather", "content": "{\"temp\": 21.5}"},
        {"role": "assistant", "content": "It is 21.5 °C."},
        {"role": "user", "content": "Thanks"},
    ],
    "calls": [
        {"role": "system", "content": "Use tools."},
        {"role": "user", "content": "Weather and light?"},
        {"role": "assistant", "content": "Let me see.", "tool_calls": [CALL, CALL2]},
        {"role": "tool", "tool_call_id": "abcdefgh1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "abcdefgh2", "content": "on"},
    ],
    "null_content": [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "abcdefgh1", "content": "rain"},
    ],
    "parts": [
        {"role": "system", "content": [{"type": "text", "text": "Look."}]},
        {"role": "user", "content": [{"type": "text", "text": " one "}, {"type": "image"}, {"type": "text", "text": "two"}]},
    ],
    "controls": [{"role": "user", "content": "a"}, {"role": "skip", "content": "b"}, {"role": "stop", "content": "c"}, {"role": "user", "content": "d"}],
    "missing_content": [{"role": "user"}],
}

TOKENS = {
    "llama2": ("<s>", "</s>"), "mistral_v1": ("<s>", "</s>"), "mistral_v3": ("<s>", "</s>"), "phi3": ("<s>", "<|endoftext|>"),
    "zephyr": ("<s>", "</s>"), "tinyllama": ("<s>", "</s>"), "llama3": ("<|begin_of_text|>", "<|eot_id|>"),
    "llama31": ("<|begin_of_text|>", "<|eot_id|>"), "gemma": ("<bos>", "<eos>"), "gemma3": ("<bos>", "<eos>"),
    "macros": ("<s>", "</s>"), "deepseek": ("<|begin|>", "<|end|>"),
}  # fmt: skip

EXTRAS = {
    "qwen3": [{"enable_thinking": False}, {"enable_thinking": True}],
    "llama31": [{"date_string": "1 Jan 2025", "tools_in_user_message": False}, {"builtin_tools": ["brave_search", "code_interpreter"]}],
}


def tokenizer(name):
    bos, eos = TOKENS.get(name, (None, "<|im_end|>"))
    made = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), bos_token=bos, eos_token=eos)
    with open(os.path.join(HERE, "templates", name + ".jinja")) as f:
        made.chat_template = f.read()
    return made


def cases():
    rows = []
    for file in sorted(os.listdir(os.path.join(HERE, "templates"))):
        name = file.removesuffix(".jinja")
        made = tokenizer(name)
        for chat, messages in CONVERSATIONS.items():
            options = [{"add_generation_prompt": True}, {"add_generation_prompt": False}]
            if chat in ("one", "turns", "system", "call", "calls", "null_content"):
                options.append({"add_generation_prompt": True, "tools": [WEATHER, LIGHT]})
            if chat in ("turns", "system_turns", "reasoning", "calls"):
                options += [{"add_generation_prompt": True} | extra for extra in EXTRAS.get(name, [])]
                options += [{"add_generation_prompt": True, "tools": [WEATHER]} | extra for extra in EXTRAS.get(name, [])]
            if chat == "system_turns":
                options.append({"continue_final_message": True})
            for option in options:
                row = {"template": name, "chat": chat, "options": {k: v for k, v in option.items() if k != "tools"}}
                row["tools"] = [t["function"]["name"] for t in option.get("tools", [])]
                try:
                    row["text"] = made.apply_chat_template(messages, tokenize=False, **option)
                except jinja2.exceptions.TemplateError as error:
                    row["refused"] = str(error)
                except (TypeError, KeyError, ValueError, AttributeError):
                    row["fails"] = True
                rows.append(row)
    return rows


CONTEXT = {
    "s": "  Hello World \n", "t": "abcabc", "e": "", "u": "Ünï 漢 ß", "n": 7, "f": 2.5, "neg": -3, "yes": True, "no": False, "nil": None,
    "list": [3, 1, 2, 1], "words": ["b", "A", "c"], "dicts": [{"k": "x", "v": 2}, {"k": "y", "v": 1}, {"k": "z"}],
    "map": {"b": 1, "a": [1, {"c": "d'e"}], "items": 5}, "nested": {"x": {"y": ["deep"]}}, "mixed": [1, "two", None, True, 2.0, [], {}],
}  # fmt: skip

EXPRESSIONS = r"""
s.strip()
s.lstrip() ~ '|'
s.rstrip() ~ '|'
s.strip('\n H') ~ '|'
s.rstrip('\n') ~ '|'
t.split('b')
t.split('b', 1)
t.rsplit('b', 1)
s.split()
'a  b'.split(' ')
'a\nb\r\nc'.splitlines()
t.startswith('ab')
t.startswith(('x', 'a'))
t.endswith('bc')
t.endswith(('q', 'z'))
t.replace('a', 'X')
t.replace('a', 'X', 1)
t.find('c')
t.find('z')
t.rfind('c')
t.count('a')
t.upper()
u.lower()
u.upper()
'hello world-foo'.title()
'hello World'.capitalize()
'aBc'.swapcase()
', '.join(words)
'-'.join('abc')
'abc'.isalpha()
'12'.isdigit()
'a1'.isalnum()
' '.isspace()
'ABC'.isupper()
'abc'.islower()
t.removeprefix('abc')
t.removesuffix('bc')
t.partition('b')
'7'.zfill(3)
'ab'.center(6, '*')
'{} and {x}'.format(1, x='y')
'%s-%d' % ('a', 3)
'%s' % s.strip()
t[0]
t[-1]
t[1:3]
t[::-1]
t[:-1]
u[0]
u[-1:]
list[1:]
list[::-1]
list[-2:]
list[::2]
list[5:]
list | length
u | length
map | length
s | trim
s | trim ~ '|'
'xxaxx' | trim('x')
words | join(', ')
mixed | join(',')
dicts | map(attribute='k') | join('')
dicts | map(attribute='v', default=0) | list
words | map('upper') | list
dicts | selectattr('v') | list | length
dicts | selectattr('k', 'equalto', 'x') | list
dicts | rejectattr('k', 'equalto', 'x') | list
dicts | selectattr('v', 'defined') | map(attribute='k') | list
list | select('greaterthan', 1) | list
list | reject('odd') | list
list | sort
list | sort(reverse=true)
words | sort
words | sort(case_sensitive=true)
dicts[:2] | sort(attribute='v') | map(attribute='k') | list
list | unique | list
list | sum
list | max
list | min
list | first
list | last
list | reverse | list
t | reverse
list | batch(2) | list
map | dictsort
map | items | list
map.items() | list
map.keys() | list
map.values() | list
map.get('b')
map.get('zz')
map.get('zz', 'dflt')
map['items']
map['zz'] is defined
map.zz is defined
nested.x.y[0]
nested['x']['y'] | first
'b' in map
'zz' in map
'ab' in t
3 in list
3 not in list
n + 1
n - 8
n * f
n / 2
n // 2
-n // 2
n % 4
-n % 4
n ** 2
2 ** 0.5
f + f
1 / 4
'a' * 3
[1] + [2]
[1, 2] * 2
'a' ~ 1 ~ none ~ true ~ 1.0
n == 7.0
'a' < 'b'
1 < n < 10
yes and n
e or 'fallback'
not e
nil is none
nil is not none
zz is defined
zz is undefined
zz | default('d')
e | default('d')
e | default('d', true)
nil | default('d')
s is string
n is string
list is iterable
t is iterable
n is iterable
map is iterable
list is sequence
t is sequence
map is sequence
map is mapping
list is mapping
n is number
f is number
yes is number
n is integer
f is float
yes is boolean
yes is true
no is false
n is odd
n is even
n is divisibleby 7
t is lower
t is eq 'abcabc'
n is in list
nil is callable
yes
no
nil
n
f
1e16
1e15
1.0
1e-5
0.0001
123456789.123
1000000000000000000
mixed
map
nested
dicts
[none, true, 1.5, 'a"b', "it's", 'both\'"', 'nl\n']
(1, 2)
(1,)
{'a': (1, 'x')}
mixed | string
n | string ~ 'x'
yes | string
'12' | int + 1
'x' | int
'3.7' | float
f | round
2.567 | round(1)
f | int
neg | abs
words | tojson
map | tojson
map | tojson(indent=2)
mixed | tojson(indent=4)
dicts | tojson(sort_keys=true)
map | tojson(separators=(',', ':'))
u | tojson
u | tojson(ensure_ascii=true)
'<&>\'"\\/\n\t\x08\x0c\x01' | tojson
1e16 | tojson
1e-7 | tojson
1.0 | tojson
s | upper
'a b' | title
'abc' | capitalize
t | replace('a', '')
'a\nb' | indent(2)
'a\nb' | indent(2, true)
'%s %s' | format('x', 1)
'<b>' | e
'<b>' | escape
'<b>' | safe
t | list
'abc' | first
range(3) | list
range(1, 10, 3) | list
range(5, 0, -2) | list
dict(a=1, b=2)
namespace(a=1).a
'x' if yes else 'y'
('x' if no) ~ '|'
['a', 'b'][1]
list[10] is defined
t[10] is defined
n.real is defined
''.__class__
list.append is defined
'\u00e9\x41\'\"\\'
'tab\there'
'adjacent' ' literals'
strftime_now('%Y-%m-%d %H:%M:%S %d %b %Y %A %B %j %p %I %y %%')
none | tojson
zz ~ 'x'
words | join
t.index('c')
list.count(1)
list.index(2)
t.encode is defined
loop is defined
'a,b,,c'.split(',')
'abc'.split('')
1 is sameas 1
true == 1
'1' == 1
nil == false
words | length > 2 and t
[] or 'empty'
{} | length
'a' 'b' in 'xaby'
not 'a' in 'b'
-n
+n
n if n > 5 else 0
words[0] + words[1] ~ words[2]
(words | first).upper()
map.b + map['a'][0]
map['a'][1].c
'%.2f' | format(3.14159)
'{:>5}|{:<5}|{:^5}'.format('a', 'b', 'c')
list | map('string') | join('+')
words | select('in', ['a', 'b']) | list
'Title Case' | lower
'x' | center(5)
'one two' | wordcount
'a' | replace('a', 'b') | upper
list | slice(2) | list
'abcdef' | truncate(5)
'<p>x</p>' | striptags
'http://a b' | urlencode
[1, [2, [3]]] | string
'a' == "a"
1.5 | string
true | int
false ~ ''
0.1 + 0.2
10 / 5
7 // 2.0
2 * 3.0
1000000 * 1000000
""".strip("\n").split("\n")


def expressions():
    environment_of = chat_template_utils._compile_jinja_template
    rows = []
    for expression in EXPRESSIONS:
        row = {"expression": expression}
        try:
            row["text"] = environment_of("{{ " + expression + " }}").render(**CONTEXT)
        except Exception:
            row["fails"] = True
        rows.append(row)
    return rows


def write(name, value):
    with open(os.path.join(HERE, name), "w") as f:
        json.dump(value, f, ensure_ascii=False, indent=0)
        f.write("\n")


def main():
    rows = cases()
    write("conversations.json", {"chats": CONVERSATIONS, "tools": [WEATHER, LIGHT], "tokens": TOKENS})
    with open(os.path.join(HERE, "cases.json"), "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(r, ensure_ascii=False) for r in rows) + "\n]\n")
    with open(os.path.join(HERE, "expressions.json"), "w") as f:
        body = ",\n".join(json.dumps(r, ensure_ascii=False) for r in expressions())
        f.write('{"context": ' + json.dumps(CONTEXT, ensure_ascii=False) + ',\n"rows": [\n' + body + "\n]}\n")
    fine = sum("text" in r for r in rows)
    print(f"{len(rows)} cases, {fine} texts, {len(EXPRESSIONS)} expressions")


if __name__ == "__main__":
    main()
