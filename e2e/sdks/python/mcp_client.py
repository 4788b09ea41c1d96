"""A client of MCP: what npm/mcp-client.mjs is, for the package mcp 1 and 2."""
import asyncio
import json
import sys

url = sys.argv[1]


def say(**line):
    print(json.dumps(line), flush=True)


async def heard(params):
    say(event=params.data)


async def lines():
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line.decode().strip()


async def call(session, tool):
    try:
        result = await session.call_tool(tool)
        failed = getattr(result, "is_error", None) or getattr(result, "isError", False)
        say(event="result", tool=tool, error="the tool failed" if failed else "")
    except Exception as error:
        say(event="result", tool=tool, error=str(error))


async def serve(session):
    say(event="ready")
    calls = set()
    async for tool in lines():
        calls.add(asyncio.create_task(call(session, tool)))


async def main():
    try:
        from mcp import Client  # 2
    except ImportError:
        from mcp import ClientSession
        from mcp.client.streamable_http import streamable_http_client

        async with streamable_http_client(url) as (read, write, _):
            async with ClientSession(read, write, logging_callback=heard) as session:
                await session.initialize()
                await serve(session)
    else:
        async with Client(url, mode="legacy", logging_callback=heard) as client:
            await serve(client)


asyncio.run(main())
