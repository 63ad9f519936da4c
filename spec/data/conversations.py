"""Writes conversations.jsonl: random conversations, and the text that the rules of DeepSeek-V4's encoder give them, by
a second program, which works on strings and Python's own json. The long texts are taken from the official vectors.

    python3 spec/data/conversations.py [COUNT] [SEED]
"""
import json
import os
import random
import sys

FOLDER = os.path.dirname(os.path.abspath(__file__))
BOS, EOS = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"
USER, ASSISTANT, THINK, END_THINK = "<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"


def dumps(value):
    return json.dumps(value, ensure_ascii=False)


def between(text, first, last):
    start = text.index(first)
    return text[start:text.index(last, start) + len(last)]


with open(os.path.join(FOLDER, "conversation.json"), encoding="utf8") as file:
    OFFICIAL = {vector["name"]: vector["expected"] for vector in json.load(file)["encoding"]}
TOOLS_HEAD = between(OFFICIAL["O1"], "\n\n## Tools", "### Available Tool Schemas\n\n")
TOOLS_TAIL = between(OFFICIAL["O1"], "\n\nYou MUST strictly follow", "tool calls.\n")
FORMAT_HEAD = between(OFFICIAL["D10"], "\n\n## Response Format", "reply:\n")
HIGH = between(OFFICIAL["D3"], "Reasoning Effort", "\n\n")
MAX = between(OFFICIAL["D4"], "Reasoning Effort", "\n\n")
EFFORT = {"0731": {"low": "", "high": HIGH, "max": MAX}, "preview": {"low": "", "high": "", "max": HIGH}}


# The rules

def merged(messages):
    turns = []
    for message in messages:
        if message["role"] not in ("tool", "user"):
            turns.append(dict(message))
            continue
        block = dict(message, result=message["role"] == "tool")
        before = turns[-1] if turns else None
        if before and before["role"] == "user" and (block["result"] or not before.get("task")):
            before["blocks"].append(block)
        else:
            turns.append({"role": "user", "blocks": [block], "task": message.get("task")})
    return turns


def sort_results(turns):
    order = {}
    for turn in turns:
        if turn.get("tool_calls"):
            order = {call["id"]: place for place, call in enumerate(turn["tool_calls"]) if "id" in call}
        results = [block for block in turn.get("blocks", ()) if block["result"]]
        if len(results) > 1 and order:
            results.sort(key=lambda block: order.get(block.get("tool_call_id"), 0))
            turn["blocks"] = [results.pop(0) if block["result"] else block for block in turn["blocks"]]


def last_request(turns):
    return max((i for i, turn in enumerate(turns) if turn["role"] in ("user", "developer")), default=-1)


def without_old(turns):
    last, kept = last_request(turns), []
    for i, turn in enumerate(turns):
        if i < last and turn["role"] == "assistant":
            turn = {name: value for name, value in turn.items() if name != "reasoning_content"}
        if i >= last or turn["role"] != "developer":
            kept.append(turn)
    return kept


def call_text(call):
    given = call["function"]["arguments"]
    try:
        arguments = json.loads(given)
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        arguments = {"arguments": given}
    lines = []
    for key, value in arguments.items():
        text, kind = (value, "true") if isinstance(value, str) else (dumps(value), "false")
        lines.append(f'<｜DSML｜parameter name="{key}" string="{kind}">{text}</｜DSML｜parameter>')
    return f'<｜DSML｜invoke name="{call["function"]["name"]}">\n' + "\n".join(lines) + "\n</｜DSML｜invoke>"


def calls_text(calls):
    if not calls:
        return ""
    return "\n\n<｜DSML｜tool_calls>\n" + "\n".join(map(call_text, calls)) + "\n</｜DSML｜tool_calls>"


def extras(turn):
    text = ""
    if turn.get("tools"):
        text += TOOLS_HEAD + "\n".join(dumps(tool["function"]) for tool in turn["tools"]) + TOOLS_TAIL
    if turn.get("response_format"):
        text += FORMAT_HEAD + dumps(turn["response_format"])
    return text


def turn_text(turn, before, with_reasoning):
    role = turn["role"]
    if role == "system":
        return turn["content"] + extras(turn)
    if role == "developer":
        return USER + turn["content"] + extras(turn)
    if role == "latest_reminder":
        return "<｜latest_reminder｜>" + turn["content"]
    if role == "user":
        texts = ["<tool_result>" + block["content"] + "</tool_result>" if block["result"] else block["content"]
                 for block in turn["blocks"]]
        return USER + "\n\n".join(texts)
    thought = ""
    if with_reasoning and not (before and before.get("task")):
        thought = turn.get("reasoning_content", "") + END_THINK
    return thought + turn["content"] + calls_text(turn.get("tool_calls")) + ("" if turn.get("wo_eos") else EOS)


def transition(turn, following, thinks):
    if following and following["role"] not in ("assistant", "latest_reminder"):
        return ""
    task = turn.get("task")
    if task == "action":
        return ASSISTANT + thinks(True) + "<｜action｜>"
    if task:
        return f"<｜{task}｜>"
    return ASSISTANT + thinks(False) if turn["role"] in ("user", "developer") else ""


def encoded(messages, thinking, generation, drop):
    turns = merged(messages)
    sort_results(turns)
    drop = drop and not any(turn.get("tools") for turn in turns)
    if thinking != "off" and drop:
        turns = without_old(turns)
    last, text = last_request(turns), BOS
    for i, turn in enumerate(turns):
        if i == 0 and thinking != "off":
            text += EFFORT[generation][thinking]
        shown = thinking != "off" and (not drop or i > last)
        text += turn_text(turn, turns[i - 1] if i else None, shown)
        open_reasoning = thinking != "off" and (not drop or i >= last)
        text += transition(turn, turns[i + 1] if i + 1 < len(turns) else None, lambda always: (
            THINK if open_reasoning or always and thinking != "off" else END_THINK))
    return text


# Conversations

WORDS = ["a", "Hello", "\n\n", "名", "é", "x\ny", '"q"', "\\", "\t", "</tool_result>", " ", "🏽", "\u2028", "1.0"]
ARGUMENTS = ["not json", "[1, 2]", '"s"', "", "12", '{"a": 1e3, "b": 2, "a": 1.50}', '{"a": 1e400}', '{"a": NaN}',
             '{"a":\t-Infinity}', '{"a": "x\ty"}']
chance = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 20260731)


def often(share):
    return chance.random() < share


def text():
    return "".join(chance.choice(WORDS) for _ in range(chance.randint(0, 4)))


def number():
    return chance.choice([chance.randint(-10 ** 20, 10 ** 20), chance.random() * 10 ** chance.randint(-12, 25), 1.0,
                          -0.0, 1e16, 1e-5, 0, 7])


def value(depth=2):
    kind = chance.randint(0, 6 if depth else 4)
    if kind == 5:
        return [value(depth - 1) for _ in range(chance.randint(0, 3))]
    if kind == 6:
        return {text() or "k": value(depth - 1) for _ in range(chance.randint(0, 3))}
    return (text, text, number, lambda: often(0.5), lambda: None)[kind]()


def call(place):
    arguments = chance.choice(ARGUMENTS)
    if often(0.8):
        arguments = json.dumps({text() or "k": value() for _ in range(chance.randint(0, 3))},
                               ensure_ascii=often(0.5), separators=(",", ":") if often(0.5) else None)
    made = {"type": "function", "function": {"name": chance.choice("fgh"), "arguments": arguments}}
    if often(0.8):
        made["id"] = f"c{place}"
    return made


def message():
    roles = ["system", "user", "user", "user", "assistant", "assistant", "assistant", "tool", "tool", "developer",
             "latest_reminder"]
    made = {"role": chance.choice(roles), "content": text()}
    if made["role"] == "developer":
        made["content"] = "d" + made["content"]
    if made["role"] in ("system", "developer") and often(0.15):
        made["tools"] = [{"type": "function", "function": {"name": "f", "description": text(), "parameters": {
            "type": "object", "properties": {text() or "p": value(), "x": value()}}}}]
    if made["role"] in ("system", "developer") and often(0.15):
        made["response_format"] = {"type": "json_object", "s": value()}
    if made["role"] == "user" and often(0.1):
        made["task"] = chance.choice(["action", "query", "authority", "domain"])
    if made["role"] == "tool" and often(0.8):
        made["tool_call_id"] = f"c{chance.randint(0, 3)}"
    if made["role"] == "assistant":
        if often(0.6):
            made["reasoning_content"] = text()
        if often(0.4):
            made["tool_calls"] = [call(place) for place in range(chance.randint(1, 3))]
        if often(0.1):
            made["task"] = "title"
        if often(0.1):
            made["wo_eos"] = True
    return made


with open(os.path.join(FOLDER, "conversations.jsonl"), "w", encoding="utf8") as out:
    for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 200):
        messages = [message() for _ in range(chance.randint(0, 8))]
        thinking, generation = chance.choice(["off", "low", "high", "max"]), chance.choice(["0731", "preview"])
        drop = often(0.7)
        out.write(dumps({"thinking": thinking, "generation": generation, "drop_thinking": drop, "messages": messages,
                         "expected": encoded(messages, thinking, generation, drop)}) + "\n")
