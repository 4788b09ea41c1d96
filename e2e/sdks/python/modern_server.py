"""A server of MCP 2026-07-28: what npm/modern-server.mjs is, for the package mcp 2. The argument is its
path."""
import asyncio
import json
import socket
import sys

import uvicorn
from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("sdks")
waiting = set()  # of slow


def say(**line):
    print(json.dumps(line), flush=True)


@server.tool()
async def quick() -> str:
    return "quick"


@server.tool()
async def slow() -> str:
    done = asyncio.Event()
    waiting.add(done)
    say(event="begun")
    await done.wait()
    return "slow"


@server.tool()
async def tell(ctx: Context) -> str:
    await ctx.notify_tools_changed()
    return "tell"


def heard():
    if not sys.stdin.readline():
        sys.exit()
    for done in waiting:
        done.set()
    waiting.clear()


async def main():
    asyncio.get_running_loop().add_reader(sys.stdin, heard)
    listener = socket.create_server(("127.0.0.1", 0))
    say(port=listener.getsockname()[1])
    app = server.streamable_http_app(streamable_http_path=sys.argv[1])
    await uvicorn.Server(uvicorn.Config(app, log_level="warning")).serve(sockets=[listener])


asyncio.run(main())
