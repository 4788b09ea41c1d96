// A server of MCP with sessions, as the package's own examples make one: with an event store, so
// that a client can resume a stream. It prints {"port": …}. Its tools:
//   quick  answers at once
//   slow   notifies the client that it has "begun", on its own stream, and waits for a line on stdin
//   tell   notifies the client that it was "told", on the listening stream
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';

const transports = new Map(); // by session
const waiting = new Set(); // of slow

class Store {
  events = []; // each a stream, an id and a message
  async storeEvent(stream, message) {
    const id = `${stream}_${this.events.length}`;
    this.events.push({ stream, id, message });
    return id;
  }
  async getStreamIdForEventId(id) {
    return id.slice(0, id.lastIndexOf('_'));
  }
  async replayEventsAfter(last, { send }) {
    const stream = await this.getStreamIdForEventId(last);
    const from = this.events.findIndex(e => e.id === last) + 1;
    for (const e of this.events.slice(from)) if (e.stream === stream && e.message.jsonrpc) await send(e.id, e.message);
    return stream;
  }
}

function tools() {
  const server = new McpServer({ name: 'sdks', version: '1' }, { capabilities: { logging: {} } });
  const text = text => ({ content: [{ type: 'text', text }] });
  server.registerTool('quick', {}, () => text('quick'));
  server.registerTool('slow', {}, async ({ sendNotification }) => {
    const wait = new Promise(done => waiting.add(done));
    await sendNotification({ method: 'notifications/message', params: { level: 'info', data: 'begun' } });
    await wait;
    return text('slow');
  });
  server.registerTool('tell', {}, async () => {
    await server.server.sendLoggingMessage({ level: 'info', data: 'told' });
    return text('tell');
  });
  return server;
}

const http = createServer(async (request, response) => {
  let transport = transports.get(request.headers['mcp-session-id']);
  if (!transport) {
    transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      eventStore: new Store(),
      onsessioninitialized: id => transports.set(id, transport)
    });
    await tools().connect(transport);
  }
  await transport.handleRequest(request, response);
});
http.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: http.address().port })));
createInterface({ input: process.stdin }).on('line', () => {
  for (const done of waiting) done();
  waiting.clear();
}).on('close', () => process.exit());
