"""A server of MCP with sessions and an event store: what npm/mcp-server.mjs is, for the package mcp 1
and 2. The argument is its path."""
import asyncio
import json
import socket
import sys

import uvicorn
from mcp.server.streamable_http import EventMessage, EventStore

try:
    from mcp.server.mcpserver import Context, MCPServer
except ImportError:
    from mcp.server.fastmcp import Context, FastMCP as MCPServer

path = sys.argv[1]
waiting = set()  # of slow


class Store(EventStore):
    def __init__(self):
        self.events = []  # each a stream, an id and a message

    async def store_event(self, stream_id, message):
        event_id = f"{stream_id}_{len(self.events)}"
        self.events.append((stream_id, event_id, message))
        return event_id

    async def replay_events_after(self, last_event_id, send_callback):
        stream = last_event_id.rpartition("_")[0]
        seen = False
        for stream_id, event_id, message in self.events:
            if seen and stream_id == stream and message is not None:
                await send_callback(EventMessage(message, event_id))
            seen = seen or event_id == last_event_id
        return stream


if MCPServer.__name__ == "MCPServer":
    server = MCPServer("sdks")
else:
    server = MCPServer("sdks", event_store=Store(), streamable_http_path=path)


@server.tool()
async def quick() -> str:
    return "quick"


@server.tool()
async def slow(ctx: Context) -> str:
    done = asyncio.Event()
    waiting.add(done)
    await ctx.info("begun")
    await done.wait()
    return "slow"


@server.tool()
async def tell(ctx: Context) -> str:
    await ctx.session.send_log_message(level="info", data="told")
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
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    if MCPServer.__name__ == "MCPServer":
        app = server.streamable_http_app(event_store=Store(), streamable_http_path=path)
    else:
        app = server.streamable_http_app()
    await uvicorn.Server(uvicorn.Config(app, log_level="warning")).serve(sockets=[listener])


asyncio.run(main())
