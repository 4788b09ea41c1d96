"""Runs one library of the requirements in its default settings, or lists them.

    python3 client.py                        a line {"library", "name"} for each library
    python3 client.py LIBRARY CAUSE=URL ...  opens all URLs, each under the name of its cause

It prints a line of JSON for all that a program learns from the library:
{"cause", "what", "id", "text"}. What is event, error, or end: the library has stopped.
"""

import asyncio
import importlib.metadata
import json
import os
import sys
import threading

here = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(here, "all")]


def sseclient(url):
    from sseclient import SSEClient

    for event in SSEClient(url):
        yield event.id


def sseclient_py(url):
    import requests
    from sseclient import SSEClient

    response = requests.get(url, stream=True, headers={"Accept": "text/event-stream"})
    for event in SSEClient(response).events():
        yield event.id


def httpx_sse(url):
    import httpx
    from httpx_sse import connect_sse

    with httpx.Client() as client, connect_sse(client, "GET", url) as source:
        for event in source.iter_sse():
            yield event.id


def requests_sse(url):
    from requests_sse import EventSource

    with EventSource(url, timeout=30) as source:
        for event in source:
            yield event.last_event_id


def launchdarkly_eventsource(url):
    from ld_eventsource import SSEClient

    for event in SSEClient(url).events:
        yield event.id


def aiohttp_sse_client2(url):
    from aiohttp_sse_client2.client import EventSource

    async def events():
        async with EventSource(url) as source:
            async for event in source:
                yield event.last_event_id

    stream, loop = events(), asyncio.new_event_loop()
    while True:
        try:
            yield loop.run_until_complete(anext(stream))
        except StopAsyncIteration:
            return


# Each function yields the ids of the events. It returns or raises when the library has stopped.
libraries = {
    "sseclient": sseclient,
    "sseclient-py": sseclient_py,
    "httpx-sse": httpx_sse,
    "requests-sse": requests_sse,
    "aiohttp-sse-client2": aiohttp_sse_client2,
    "launchdarkly-eventsource": launchdarkly_eventsource,
}


def write(**line):
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def follow(library, cause, url):
    try:
        for id in libraries[library](url):
            write(cause=cause, what="event", id=id or "")
    except Exception as e:
        write(cause=cause, what="error", text=repr(e))
    write(cause=cause, what="end")


def main(library=None, *causes):
    if library is None:
        sys.path.append(os.path.join(here, "sseclient-py"))
        for library in libraries:
            write(library=library, name=f"PyPI {library} {importlib.metadata.version(library)}")
    if library == "sseclient-py":
        sys.path.insert(0, os.path.join(here, "sseclient-py"))
    for argument in causes:
        cause, url = argument.split("=", 1)
        threading.Thread(target=follow, args=(library, cause, url)).start()


main(*sys.argv[1:])
