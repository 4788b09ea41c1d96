"""A client of an LLM: what npm/llm-client.mjs is, for Python."""
import json
import sys
import threading

library, url, token = sys.argv[1:4]
messages = [{"role": "user", "content": "hello"}]


def say(**line):
    # In one piece: with PYTHONUNBUFFERED, print writes the end of the line alone, and another thread
    # may come in between.
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if library == "openai":
    from openai import OpenAI

    create, more = OpenAI(base_url=url + "/v1", api_key=token).chat.completions.create, {}
else:
    from anthropic import Anthropic

    create, more = Anthropic(base_url=url, auth_token=token).messages.create, {"max_tokens": 9}


def ask(tool):
    headers = {} if tool == "-" else {"x-conversation-id": tool}
    try:
        for number, _ in enumerate(create(model="m", messages=messages, stream=True, extra_headers=headers, **more)):
            if number == 0:
                say(event="begun", tool=tool)
        say(event="result", tool=tool)
    except Exception as error:
        say(event="result", tool=tool, error=f"{getattr(error, 'status_code', '')} {error}")


say(event="ready")
for line in sys.stdin:
    threading.Thread(target=ask, args=[line.strip()], daemon=True).start()
