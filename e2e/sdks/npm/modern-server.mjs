// A server of MCP 2026-07-28, without sessions. It prints {"port": …}. Its tools:
//   quick  answers at once
//   slow   prints {"event": "begun"}, and waits for a line on stdin
//   tell   notifies all subscriptions
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { toNodeHandler } from '@modelcontextprotocol/node';
import { createMcpHandler, McpServer } from '@modelcontextprotocol/server';

const say = line => console.log(JSON.stringify(line));
const waiting = new Set(); // of slow

const handler = createMcpHandler(() => {
  const server = new McpServer({ name: 'sdks', version: '1' }, { capabilities: { tools: { listChanged: true } } });
  const text = text => ({ content: [{ type: 'text', text }] });
  server.registerTool('quick', {}, () => text('quick'));
  server.registerTool('slow', {}, async () => {
    const wait = new Promise(done => waiting.add(done));
    say({ event: 'begun' });
    await wait;
    return text('slow');
  });
  server.registerTool('tell', {}, () => {
    handler.notify.toolsChanged();
    return text('tell');
  });
  return server;
});

const http = createServer(toNodeHandler(handler));
http.listen(0, '127.0.0.1', () => say({ port: http.address().port }));
createInterface({ input: process.stdin }).on('line', () => {
  for (const done of waiting) done();
  waiting.clear();
}).on('close', () => process.exit());
