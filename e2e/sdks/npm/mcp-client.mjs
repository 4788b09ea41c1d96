// A client of MCP. The argument is the server's URL. It makes a session, and calls the tool that
// each line on stdin names. It prints a line of JSON for what it learns:
//   {"event": "ready"}
//   {"event": "begun"}, {"event": "told"}            notifications
//   {"event": "result", "tool": …, "error": …}       the end of a call
import { createInterface } from 'node:readline';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { LoggingMessageNotificationSchema } from '@modelcontextprotocol/sdk/types.js';

const say = line => console.log(JSON.stringify(line));
const client = new Client({ name: 'sdks', version: '1' });
client.onerror = error => console.error(error.message, error.cause ?? "");
client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => say({ event: params.data }));
await client.connect(new StreamableHTTPClientTransport(new URL(process.argv[2])));
say({ event: 'ready' });
createInterface({ input: process.stdin }).on('line', tool =>
  client.callTool({ name: tool }).then(
    () => say({ event: 'result', tool }),
    error => say({ event: 'result', tool, error: error.message })
  )
).on('close', () => process.exit());
