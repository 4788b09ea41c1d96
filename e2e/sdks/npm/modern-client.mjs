// A client of MCP 2026-07-28. The arguments are the server's URL and a token. It subscribes for each
// line "listen" on stdin, and calls the tool that any other line names. It prints:
//   {"event": "ready"}
//   {"event": "listening"}                           a subscription
//   {"event": "told"}                                a notification of one subscription
//   {"event": "result", "tool": …, "error": …}       the end of a call
import { createInterface } from 'node:readline';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

const [url, token] = process.argv.slice(2);
const say = line => console.log(JSON.stringify(line));
const client = new Client({ name: 'sdks', version: '1' }, { versionNegotiation: { mode: { pin: '2026-07-28' } } });
client.onerror = error => console.error(error.message, error.cause ?? '');
client.setNotificationHandler('notifications/tools/list_changed', () => say({ event: 'told' }));
await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers: { authorization: `Bearer ${token}` } } }));
say({ event: 'ready' });
createInterface({ input: process.stdin }).on('line', tool => {
  const failed = error => say({ event: 'result', tool, error: error.message });
  if (tool === 'listen') client.listen({ toolsListChanged: true }).then(() => say({ event: 'listening' }), failed);
  else client.callTool({ name: tool }).then(() => say({ event: 'result', tool }), failed);
}).on('close', () => process.exit());
