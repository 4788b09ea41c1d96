"""A client of MCP 2026-07-28: what npm/modern-client.mjs is, for the package mcp 2."""
import asyncio
import json
import sys

from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

url, token = sys.argv[1:3]


def say(**line):
    print(json.dumps(line), flush=True)


async def lines():
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line.decode().strip()


async def act(client, tool):
    try:
        if tool == "listen":
            async with client.listen(tools_list_changed=True) as subscription:
                say(event="listening")
                async for _ in subscription:
                    say(event="told")
        else:
            result = await client.call_tool(tool)
            say(event="result", tool=tool, error="the tool failed" if result.is_error else "")
    except Exception as error:
        say(event="result", tool=tool, error=str(error))


async def main():
    async with create_mcp_http_client(headers={"authorization": f"Bearer {token}"}) as http:
        async with Client(streamable_http_client(url, http_client=http), mode="2026-07-28") as client:
            say(event="ready")
            tasks = set()
            async for tool in lines():
                tasks.add(asyncio.create_task(act(client, tool)))


asyncio.run(main())
