// A client of an LLM. The arguments are the library, the server's URL and a token. For each line on
// stdin it asks a question, in the conversation that the line names; in none for "-". It prints:
//   {"event": "begun", "tool": …}                 the answer has begun
//   {"event": "result", "tool": …, "error": …}    it has ended
import { createInterface } from 'node:readline';
import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';

const [library, url, token] = process.argv.slice(2);
const messages = [{ role: 'user', content: 'hello' }];
const ask = {
  openai(options) {
    const client = new OpenAI({ baseURL: url + '/v1', apiKey: token });
    return client.chat.completions.create({ model: 'm', messages, stream: true }, options);
  },
  anthropic(options) {
    const client = new Anthropic({ baseURL: url, authToken: token, apiKey: null });
    return client.messages.create({ model: 'm', max_tokens: 9, messages, stream: true }, options);
  }
}[library];

const say = line => console.log(JSON.stringify(line));
say({ event: 'ready' });
createInterface({ input: process.stdin }).on('line', async tool => {
  const headers = tool === '-' ? {} : { 'x-conversation-id': tool };
  try {
    let begun = false;
    for await (const _ of await ask({ headers })) {
      if (!begun) say({ event: 'begun', tool });
      begun = true;
    }
    say({ event: 'result', tool });
  } catch (error) {
    say({ event: 'result', tool, error: `${error.status ?? ''} ${error.message}` });
  }
}).on('close', () => process.exit());
